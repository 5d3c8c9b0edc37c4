"""Learning curves: bits per dimension while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from nfcli.drawing import style
from nfcli.drawing.levels import Floats
from nfcli.drawing.output import PathLike
from nfcli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[ArrayLike, ArrayLike]
"""Positions (steps or epochs) and bits per dimension, (points,) each."""

WARM_UP = 0.05
"""Share of the horizontal axis whose training losses, many times the final ones, do not stretch the vertical axis."""

MARKERS = "osD^vPX"


def save_learning_curves(
    path: PathLike,
    training: Mapping[str, Curve],
    *,
    validation: Mapping[str, Curve] | None = None,
    x_label: str = "Training step",
    title: str | None = None,
    size: tuple[float, float] = (6.4, 3.8),
) -> None:
    """Training as lines, validation as markers, a colour a name; very high losses at the start leave at the top.

    Args:
        path: The PNG file.
        training: Curves by name; points that are not finite leave a gap.
        validation: Curves by name; the same name gets the same colour.
        x_label: What the positions count.
        title: Title of the figure.
        size: Width and height in inches.

    Raises:
        UsageError: There is nothing finite to draw, or positions and values differ in number.
        WriteError: The file cannot be written.
    """
    lines = {name: _check_curve(name, curve) for name, curve in training.items()}
    marks = {name: _check_curve(name, curve) for name, curve in (validation or {}).items()}
    # One point is no line: validated, it would only stretch the axis with the mean of the very first steps.
    lines = {name: curve for name, curve in lines.items() if name not in marks or np.isfinite(curve[1]).sum() > 1}
    limits = _limits(list(lines.values()), list(marks.values()))
    with style.png_figure(path, *size) as figure:
        style.set_figure_title(figure, title)
        axes = figure.subplots()
        names = list(dict.fromkeys([*training, *marks]))
        for index, name in enumerate(names):
            _draw_curves(axes, index, lines.get(name), marks.get(name))
        axes.set_ylim(*limits)
        axes.margins(x=0.02)
        axes.set_xlabel(x_label)
        axes.set_ylabel("Bits per dimension")
        axes.grid(axis="y", color="#E4E4E4", linewidth=0.6)
        axes.set_axisbelow(True)
        _draw_legend(axes, names, bool(lines), bool(marks))


def _check_curve(name: str, curve: Curve) -> tuple[Floats, Floats]:
    x, y = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in curve)
    if x.ndim != 1 or x.shape != y.shape:
        raise UsageError(
            f"the curve '{name}' has {x.size} positions and {y.size} values", hint="give one value for each position"
        )
    # Infinities would hide everything else; NaN is a gap in the line.
    return x, np.where(np.isfinite(y), y, np.nan)


def _limits(lines: Sequence[tuple[Floats, Floats]], marks: Sequence[tuple[Floats, Floats]]) -> tuple[float, float]:
    """Lower and upper end of the vertical axis."""
    curves = [*lines, *marks]
    x = np.concatenate([curve[0] for curve in curves] or [np.empty(0)])
    y = np.concatenate([curve[1] for curve in curves] or [np.empty(0)])
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if not y.size:
        raise UsageError("there is no finite loss to draw", hint="train for at least one step")
    # Of few points, each is more than this share of the curve: then all are shown.
    long = len(np.unique(x)) * WARM_UP >= 1
    settled = y[x >= x.min() + WARM_UP * (x.max() - x.min())] if long else y
    low, high = float(settled.min()), float(settled.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _draw_curves(
    axes: Axes, index: int, line: tuple[Floats, Floats] | None, mark: tuple[Floats, Floats] | None
) -> None:
    colour = style.SERIES[index % len(style.SERIES)]
    if line is not None:
        dot = "." if np.isfinite(line[1]).sum() == 1 else ""
        axes.plot(*line, color=colour, linewidth=1, alpha=0.6, marker=dot)
    if mark is not None:
        marker = MARKERS[index % len(MARKERS)]
        axes.plot(
            *mark,
            color=colour,
            linestyle="none",
            marker=marker,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
        )


def _draw_legend(axes: Axes, names: Sequence[str], has_lines: bool, has_marks: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=style.SERIES[index % len(style.SERIES)],
            marker=MARKERS[index % len(MARKERS)] if has_marks else "",
        )
        for index in range(len(names))
    ]
    texts = list(names)
    if has_lines and has_marks:
        handles.append(Line2D([], [], color=style.MUTED, linewidth=1))
        handles.append(Line2D([], [], color=style.MUTED, linestyle="none", marker="o", markersize=5))
        texts += ["training", "validation"]
    # Placeholders first: matplotlib would drop names that start with an underscore and read dollar signs as formulas.
    legend = axes.legend(handles, [str(index) for index in range(len(handles))], loc="upper right")
    for text, name in zip(legend.get_texts(), texts, strict=True):
        text.set_text(name)
        text.set_parse_math(False)
