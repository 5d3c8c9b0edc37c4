"""One picture of what dequantization does: a model's histograms above, the volume that each value gets below."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nfcli.drawing import style
from nfcli.drawing.levels import Floats, labelled_levels, level_borders, logistic_density, to_real_line
from nfcli.drawing.style import Target
from nfcli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 6
"""Powers of ten that a histogram shows at most."""

TAIL = 4
"""Units of the real line shown of each outer interval, long and nearly empty: by then its density is a fiftieth."""

EVERY_LEVEL = 8
"""Up to so many values each interval is labelled, beyond only a few of them."""

WIDTH_ROW, VALUE_ROW = 23, 44
"""Middle of the two rows of numbers, in points above the axes."""

COLOURS = (style.BLUE, style.PALE_BLUE)


@dataclass(frozen=True)
class Panels:
    """The numbers in the picture.

    Attributes:
        edges: (bins + 1,) ascending borders of the histograms' bins, on the real line.
        uniform_density: (bins,) density of pixels dequantized with uniform noise, per unit of `edges`.
        learned_density: (bins,) the same with learned noise; None leaves the panel out.
        levels: Number of values in the panels of volumes.
        prior: (levels,) probability of each of them in the second of these panels; in the first it is uniform.
        prior_name: What the second is called.
    """

    edges: ArrayLike
    uniform_density: ArrayLike
    learned_density: ArrayLike | None
    levels: int
    prior: ArrayLike
    prior_name: str

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> "Panels":
        """From the numbers beside a picture.

        Raises:
            KeyError: One of them is missing.
        """
        return cls(**{field.name: numbers[field.name] for field in fields(cls)})

    def densities(self) -> dict[str, Floats]:
        """(bins,) of the histograms, by the title of the panel."""
        given = {"Uniform noise": self.uniform_density, "Learned noise": self.learned_density}
        return {title: np.asarray(values, float) for title, values in given.items() if values is not None}

    def priors(self) -> dict[str, Floats]:
        """(levels,) of the volumes, by the title of the panel."""
        given = {"Uniform prior": np.full(self.levels, 1 / self.levels), self.prior_name: self.prior}
        return {f"{name} over {self.levels} values": np.asarray(prior, float) for name, prior in given.items()}


def _check(panels: Panels, alpha: float, data_levels: int) -> None:
    edges, prior = np.asarray(panels.edges, float), np.asarray(panels.prior, float)
    ascend = edges.ndim == 1 and edges.size > 1 and np.isfinite(edges).all() and (np.diff(edges) > 0).all()
    histograms = all(
        # `>= 0` is False for NaN as well.
        density.shape == (edges.size - 1,) and (density >= 0).all() and np.isfinite(density).all() and density.any()
        for density in panels.densities().values()
    )
    distribution = prior.shape == (panels.levels,) and (prior >= 0).all() and math.isclose(prior.sum(), 1, abs_tol=1e-6)
    for right, problem in (
        (ascend, "the borders of the bins do not ascend"),
        (histograms, "the densities are no histograms over the bins"),
        (panels.levels >= 2 and data_levels >= 2, "there are fewer than 2 values"),
        (distribution, "the prior is no probability distribution over the values"),
        (0 < alpha < 1, f"alpha is {alpha:g}"),
    ):
        if not right:
            raise UsageError(f"the picture of dequantization cannot be drawn: {problem}", hint="draw it anew")


def save_dequantization_figure(
    target: Target,
    panels: Panels,
    *,
    alpha: float,
    data_levels: int = 256,
    narrow: bool = False,
    dpi: int | None = None,
) -> None:
    """Histograms above, volumes below; a row with a single panel is as wide as the figure.

    Args:
        target: The file.
        panels: What to draw.
        alpha: The squash before the logit.
        data_levels: Number of values that a pixel can take.
        narrow: For a phone: all panels below each other.
        dpi: Pixels an inch.

    Raises:
        UsageError: The numbers cannot be drawn.
        WriteError: The file cannot be written.
    """
    _check(panels, alpha, data_levels)
    densities, priors = panels.densities(), panels.priors()
    above, count = len(densities), len(densities) + len(priors)
    rows, width = (count, style.PANEL_WIDTH / 2) if narrow else (2, style.PANEL_WIDTH)
    layout = ";".join("ABCD"[:count]) if narrow else "AA;BC" if above == 1 else "AB;CD"
    with style.figure(target, width, rows * style.PANEL_HEIGHT, dpi=dpi) as figure:
        axes = [one for _, one in sorted(figure.subplot_mosaic(layout).items())]
        _draw_histograms(axes[:above], np.asarray(panels.edges), densities, alpha, data_levels)
        for one, (title, prior) in zip(axes[above:], priors.items(), strict=True):
            _draw_volumes(one, title, prior, alpha)
        axes[0].set_ylabel("Density per unit of $y$ (log scale)")
        axes[above].set_ylabel("Density per unit of $y$")
        if narrow:  # no neighbour has the numbers
            for one in axes:
                one.tick_params(labelleft=True)


def _draw_histograms(row: list["Axes"], edges: Floats, densities: dict[str, Floats], alpha: float, levels: int) -> None:
    positive = np.concatenate([density[density > 0] for density in densities.values()])
    top, shown = positive.max(), labelled_levels(levels)
    floor = max(positive.min() / 2, top / 10**DECADES)
    for axes, colour, (title, density) in zip(row, (style.BLUE, style.VERMILION), densities.items(), strict=False):
        # Four fifths of MNIST's pixels are black: without the logarithm nothing but that one value could be seen.
        axes.set_yscale("log")
        axes.stairs(np.maximum(density, floor), edges, baseline=floor, fill=True, color=colour, linewidth=0)
        axes.set(xlim=edges[[0, -1]], ylim=(floor, top * 1.6))
        axes.set(title=title, xlabel="Dequantized pixel, $y$ on the real line")
        axes.tick_params(labelleft=axes is row[0])
        pixel_axis = axes.secondary_xaxis("top")
        pixel_axis.set_xticks(to_real_line((np.array(shown) + 0.5) / levels, alpha), labels=[str(k) for k in shown])
        pixel_axis.set_xlabel("Pixel value", color=style.MUTED, fontsize=9)
        pixel_axis.tick_params(labelsize=9, colors=style.MUTED)
        pixel_axis.spines["top"].set_visible(False)


def _draw_volumes(axes: "Axes", title: str, prior: Floats, alpha: float) -> None:
    """The density that a prior induces, and above it each value's interval, in alternating colours."""
    levels, borders = len(prior), level_borders(len(prior), alpha)
    end = float(borders[-1])
    reach = min(end, math.ceil(borders[-2] + TAIL))
    shown, volumes = borders.clip(-reach, reach), np.diff(borders)
    above = axes.get_xaxis_transform()
    for k in range(levels):
        look: dict[str, Any] = {"color": COLOURS[k % 2], "linewidth": 0}
        y = np.linspace(shown[k], shown[k + 1], 200 if levels <= EVERY_LEVEL else 20)
        axes.fill_between(y, levels * prior[k] * logistic_density(y, alpha), **look)
        axes.fill_between(shown[k : k + 2], 1.02, 1.05, transform=above, clip_on=False, **look)
    for k in range(levels) if levels <= EVERY_LEVEL else labelled_levels(levels):
        at, volume = float(shown[k : k + 2].mean()), f"{volumes[k]:.2f}" if volumes[k] < 10 else f"{volumes[k]:.1f}"
        _write_above(axes, volume, at, WIDTH_ROW, fontsize=8.5, rotation=90)
        _write_above(axes, str(k), at, VALUE_ROW, fontsize=9.5, fontweight="bold")
    for name, row in (("width", WIDTH_ROW), ("value", VALUE_ROW)):
        _write_above(axes, name, None, row, fontsize=9, color=style.MUTED)
    axes.set(xlim=(-reach, reach), ylim=(0, None), xlabel=f"Real line, $y$ (outer intervals end at $\\pm${end:.1f})")
    axes.set_title(title, pad=VALUE_ROW + 12)


def _write_above(axes: "Axes", text: str, at: float | None, points: float, **font: Any) -> None:
    """Centre text over a position, or right-align it with the left spine, `points` above the axes' upper border.

    In points, since rows sized as a share of the axes would collide in a low panel.
    """
    x, unit, beside, align = (0, "axes fraction", -5, "right") if at is None else (at, "data", 0, "center")
    place: dict[str, Any] = {"xycoords": (unit, "axes fraction"), "xytext": (beside, points), "ha": align}
    axes.annotate(text, (x, 1), **place, textcoords="offset points", va="center", annotation_clip=False, **font)
