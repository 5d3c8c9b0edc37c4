"""Learning curves: bits per dimension while training, as metrics.jsonl has them."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nfcli.drawing import style
from nfcli.errors import UsageError
from nfcli.runs import RunDir
from nfcli.runs.directory import CURVES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Positions (steps or images) and bits per dimension, (points,) each; NaN is a gap."""

WARM_UP = 0.05
"""Share of the horizontal axis whose training losses, many times the final ones, do not stretch the vertical axis."""

MARKERS = "osD^vPX"


def draw_learning_curve(run: RunDir) -> Path | None:
    """Draw training and validation bits per dimension over steps into the run's figures.

    Returns:
        The PNG, or None where there are fewer than two epochs to connect.

    Raises:
        RunError: metrics.jsonl is damaged.
        WriteError: The PNG cannot be written.
    """
    training, validation = learning_curves(run)
    if np.isfinite(training[1]).sum() < 2:
        return None
    path = run.figures / "learning-curve.png"
    validated = {run.name: validation} if np.isfinite(validation[1]).any() else {}
    save_learning_curves(path, {run.name: training}, validated)
    return path


def learning_curves(run: RunDir) -> list[Curve]:
    """Steps, and bits per dimension in training; the same of validation. NaN where none were finite.

    Raises:
        RunError: metrics.jsonl is damaged.
    """
    rows, curves = run.metrics(CURVES), []
    for column in CURVES:
        known = [row for row in rows if column in row]
        curves.append(
            (np.array([row["step"] for row in known], float), np.array([row[column] for row in known], float))
        )
    return curves


def save_learning_curves(
    target: Path | BytesIO,
    training: Mapping[str, Curve],
    validation: Mapping[str, Curve],
    *,
    x_label: str = "Training step",
    size: tuple[float, float] = (6.4, 3.8),
) -> None:
    """Training as lines, validation as markers, a colour a name; very high losses at the start leave at the top.

    Args:
        target: The file.
        training: Curves by name; points that are not finite leave a gap.
        validation: Curves by name; the same name gets the same colour.
        x_label: What the positions count.
        size: Width and height in inches.

    Raises:
        UsageError: There is nothing finite to draw.
        WriteError: The file cannot be written.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    # One point is no line: validated, it would only stretch the axis with the mean of the very first steps.
    lines = {
        name: curve for name, curve in training.items() if name not in validation or np.isfinite(curve[1]).sum() > 1
    }
    names = list(dict.fromkeys([*training, *validation]))
    limits = _limits([*lines.values(), *validation.values()])
    with style.figure(target, *size) as figure:
        axes = figure.subplots()
        for index, name in enumerate(names):
            _draw_curves(axes, index, lines.get(name), validation.get(name))
        axes.set_ylim(*limits)
        axes.margins(x=0.02)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylabel("Bits per dimension")
        axes.grid(axis="y", color=style.FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        _draw_legend(axes, names, bool(lines), bool(validation))


def _limits(curves: list[Curve]) -> tuple[float, float]:
    """Lower and upper end of the vertical axis."""
    x, y = (np.concatenate(parts) for parts in zip(*curves, strict=True)) if curves else (np.empty(0), np.empty(0))
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if not y.size:
        raise UsageError("there is no finite loss to draw", hint="train for at least one step")
    # Of few points, each is more than this share of the curve: then all are shown.
    long = len(np.unique(x)) * WARM_UP >= 1
    settled = y[x >= x.min() + WARM_UP * (x.max() - x.min())] if long else y
    low, high = float(settled.min()), float(settled.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _draw_curves(axes: Axes, index: int, line: Curve | None, mark: Curve | None) -> None:
    colour, marker = _look(index)
    if line is not None:
        dot = "." if np.isfinite(line[1]).sum() == 1 else ""
        axes.plot(*line, color=colour, linewidth=1, alpha=0.6, marker=dot)
    if mark is not None:
        axes.plot(*mark, color=colour, linestyle="none", marker=marker, markersize=5, mec="white", mew=0.6)


def _look(index: int) -> tuple[str, str]:
    return style.SERIES[index % len(style.SERIES)], MARKERS[index % len(MARKERS)]


def _draw_legend(axes: Axes, names: list[str], has_lines: bool, has_marks: bool) -> None:
    from matplotlib.lines import Line2D

    looks = [_look(index) for index in range(len(names))]
    handles = [Line2D([], [], color=colour, marker=marker if has_marks else "") for colour, marker in looks]
    texts = list(names)
    if has_lines and has_marks:
        handles.append(Line2D([], [], color=style.MUTED, linewidth=1))
        handles.append(Line2D([], [], color=style.MUTED, linestyle="none", marker="o", markersize=5))
        texts += ["training", "validation"]
    # Placeholders first: matplotlib would drop names that start with an underscore and read dollar signs as formulas.
    legend = axes.legend(handles, [str(index) for index in range(len(handles))], loc="best")
    for text, name in zip(legend.get_texts(), texts, strict=True):
        text.set_text(name)
        text.set_parse_math(False)
