"""The drawn figures: sizes, ink where it belongs, the same bytes twice, and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from nfcli.drawing import style
from nfcli.drawing.dequantization_figure import Panels, save_dequantization_figure
from nfcli.drawing.explain import save_explain_figure
from nfcli.drawing.learning_curves import _limits, save_learning_curves
from nfcli.drawing.style import BLUE, VERMILION
from nfcli.errors import UsageError, WriteError
from nfcli.runs.outputs import SIGNATURE

ALPHA = 1e-5
EDGES = np.linspace(-13, 13, 257)
UNIFORM = np.exp(-(EDGES[1:] ** 2) / 20)
LEARNED = np.exp(-((EDGES[1:] - 2) ** 2) / 10)
PRIOR = [0.5, 0.1, 0.06, 0.04, 0.05, 0.07, 0.1, 0.08]
STEPS = np.arange(1, 101)
LOSS = 1 + 8 * np.exp(-STEPS / 10)


def _dequantization(
    path: Path, *, narrow: bool = False, alpha: float = ALPHA, data_levels: int = 256, **changes: Any
) -> None:
    numbers = {
        "edges": EDGES,
        "uniform_density": UNIFORM,
        "learned_density": LEARNED,
        "levels": 8,
        "prior": PRIOR,
        "prior_name": "Given prior",
    }
    panels = Panels.of(numbers | changes)
    save_dequantization_figure(path, panels, alpha=alpha, data_levels=data_levels, narrow=narrow)


def _curve(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.array(x, float), np.array(y, float)


FIGURES: dict[str, tuple[Callable[[Path], None], tuple[int, int]]] = {
    "dequantization": (_dequantization, (1840, 1480)),
    "dequantization for a phone": (lambda path: _dequantization(path, narrow=True), (920, 2960)),
    "explain": (save_explain_figure, (1840, 580)),
    "curves": (
        lambda path: save_learning_curves(path, {"a": _curve(STEPS, LOSS)}, {"a": _curve([50, 100], [1.1, 1.0])}),
        (1280, 760),
    ),
}


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def _share(pixels: np.ndarray, colour: str) -> float:
    """Share of the pixels that have exactly this colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((pixels == rgb).all(axis=2).mean())


@pytest.mark.parametrize("name", FIGURES)
def test_size_margins_and_determinism(tmp_path: Path, name: str) -> None:
    draw, size = FIGURES[name]
    draw(tmp_path / "a" / "first.png")
    # Settings of the user's own matplotlibrc must not show.
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        draw(tmp_path / "second.png")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a" / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    with Image.open(tmp_path / "second.png") as image:
        assert image.size == size
        assert image.info["Software"] == SIGNATURE  # without the version: the same figure has the same bytes
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    pixels = _read(tmp_path / "second.png")
    border = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel(), pixels[:, -3:].ravel()])
    assert (border == 255).all(), "something is cropped"
    assert _share(pixels, BLUE) > 0.0005


@pytest.mark.parametrize("suffix", [".pdf", ".SVG"])
def test_vector_figures_are_the_same_bytes_without_a_date(tmp_path: Path, suffix: str) -> None:
    for name in ("first", "second"):
        save_explain_figure(tmp_path / f"{name}{suffix}")
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("first", "second"))
    assert first == second
    assert b"Date" not in first
    assert b"date" not in first
    assert b"Matplotlib" not in first
    assert first.startswith(b"%PDF-" if suffix == ".pdf" else b"<?xml")


def test_resolution(tmp_path: Path) -> None:
    save_explain_figure(tmp_path / "figure.png", dpi=50)
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == (460, 145)


@pytest.mark.parametrize("name", FIGURES)
def test_write_errors(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"figure\.png"):
        FIGURES[name][0](tmp_path / "file" / "figure.png")


def test_learned_noise_has_its_own_panel(tmp_path: Path) -> None:
    _dequantization(tmp_path / "two.png")
    _dequantization(tmp_path / "one.png", learned_density=None)
    two, one = _read(tmp_path / "two.png")[:740], _read(tmp_path / "one.png")[:740]
    assert _share(two[:, :800], BLUE) > 0.1 > 0.001 > _share(two[:, :800], VERMILION)
    assert _share(two[:, 1040:], VERMILION) > 0.1 > 0.001 > _share(two[:, 1040:], BLUE)
    assert _share(one, VERMILION) == 0
    assert _share(one, BLUE) > _share(two, BLUE)


@pytest.mark.parametrize(
    "changes",
    [
        {"edges": EDGES[::-1]},
        {"edges": np.full(257, np.nan)},
        {"uniform_density": UNIFORM[1:]},
        {"uniform_density": np.zeros(256)},
        {"learned_density": -LEARNED},
        {"learned_density": np.full(256, np.inf)},
        {"data_levels": 1},
        {"levels": 1, "prior": [1.0]},
        {"levels": 9},
        {"prior": np.full(8, 0.2)},
        {"prior": [1.5, -0.5, 0, 0, 0, 0, 0, 0]},
        {"prior": [np.nan] * 8},
        {"prior": [PRIOR]},
        {"alpha": 0.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_panels_that_cannot_be_drawn(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        _dequantization(tmp_path / "figure.png", **changes)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_prior_is_called_what_it_is() -> None:
    panels = Panels(EDGES, UNIFORM, None, 8, PRIOR, "Bell-shaped prior")
    assert list(panels.priors()) == ["Uniform prior over 8 values", "Bell-shaped prior over 8 values"]


@pytest.mark.parametrize(("levels", "alpha"), [(2, ALPHA), (10, 0.5), (256, ALPHA)])
def test_volumes_of_few_and_many_levels(tmp_path: Path, levels: int, alpha: float) -> None:
    _dequantization(tmp_path / "figure.png", levels=levels, prior=np.full(levels, 1 / levels), alpha=alpha)
    assert _read(tmp_path / "figure.png").shape == (1480, 1840, 3)


def test_curves_with_gaps_and_validation_alone(tmp_path: Path) -> None:
    loss = LOSS.copy()
    loss[[0, 50, 60]] = np.nan, np.inf, -np.inf
    save_learning_curves(tmp_path / "a.png", {"run": _curve(STEPS, loss)}, {})
    save_learning_curves(tmp_path / "b.png", {}, {"x": _curve([5], [1.0])}, x_label="Epoch")
    assert _share(_read(tmp_path / "a.png"), "#222222") > 0
    assert _share(_read(tmp_path / "b.png"), BLUE) > 0


def test_the_loss_of_a_single_epoch_is_seen_or_leaves_the_room_to_validation(tmp_path: Path) -> None:
    once = {"a": _curve([1], [3.0])}
    save_learning_curves(tmp_path / "alone.png", once, {})
    left_of_the_legend = _read(tmp_path / "alone.png")[:, :1000]
    assert (left_of_the_legend[..., 2] > left_of_the_legend[..., 0] + 60).any()  # a blue dot
    pictures = []
    for name, loss in (("near.png", 1.3), ("far.png", 300.0)):
        validation = {"a": _curve([1], [1.2]), "b": _curve([1], [1.1])}
        save_learning_curves(tmp_path / name, {"a": _curve([1], [loss])}, validation)
        pictures.append(_read(tmp_path / name))
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("curves", [{}, {"a": _curve([1], [np.nan])}], ids=["none", "nan"])
def test_curves_that_cannot_be_drawn(tmp_path: Path, curves: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        save_learning_curves(tmp_path / "figure.png", curves, {})
    assert caught.value.hint


def test_no_point_of_a_short_curve_is_cut_off():
    """The warm-up is a share of a long curve; of two epochs both are shown."""
    short = _limits([_curve([80, 160], [3.1, 1.4]), _curve([80, 160], [1.5, 1.3])])
    assert short[0] < 1.3 < 3.1 < short[1]
    steps = np.arange(100.0)
    long = _limits([(steps, 1 + 100 * np.exp(-steps))])
    assert long[1] < 10


def test_the_legend_hides_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, real = [], style.figure

    @contextmanager
    def kept(*arguments: Any, **options: Any) -> Iterator[Figure]:
        with real(*arguments, **options) as figure:
            drawn.append(figure)
            yield figure

    monkeypatch.setattr(style, "figure", kept)
    points = {f"a-name-of-thirty-{value}": (np.array([160.0]), np.array([value])) for value in (8.0, 9.0)}
    save_learning_curves(BytesIO(), {}, points, size=(3.4, 2.6))
    (axes,) = drawn[0].axes
    box = axes.get_legend().get_window_extent()
    assert not any(box.contains(*axes.transData.transform((160.0, float(y[0])))) for _, y in points.values())
