"""Learning curves: bits per dimension while training, as metrics.jsonl has them."""

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nfcli.drawing import style
from nfcli.drawing.style import Target
from nfcli.errors import UsageError
from nfcli.runs import RunDir
from nfcli.runs.directory import CURVES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Positions (steps or images) and bits per dimension, (points,) each; NaN is a gap."""

Curves = dict[str, Curve]
"""By name."""

Inches = tuple[float, float]
"""Width and height."""

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
        steps, values = (np.array([row[name] for row in rows if column in row], float) for name in ("step", column))
        curves.append((steps, values))
    return curves


def save_learning_curves(
    target: Target, training: Curves, validation: Curves, *, x_label: str = "Training step", size: Inches = (6.4, 3.8)
) -> None:
    """Training as lines, validation as markers, a colour a name; very high losses at the start leave at the top.

    Args:
        target: The file.
        training: Curves by name; points that are not finite leave a gap.
        validation: Curves by name; the same name gets the same colour.
        x_label: What the positions count.
        size: Of the figure.

    Raises:
        UsageError: There is nothing finite to draw.
        WriteError: The file cannot be written.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    # One point is no line: validated, it would only stretch the axis with the mean of the very first steps.
    lone = {name for name, (_, values) in training.items() if np.isfinite(values).sum() <= 1}
    lines = {name: curve for name, curve in training.items() if name not in lone & validation.keys()}
    looks = [*zip(dict.fromkeys([*training, *validation]), cycle(style.SERIES), cycle(MARKERS), strict=False)]
    limits = _limits([*lines.values(), *validation.values()])
    with style.figure(target, *size) as figure:
        axes = figure.subplots()
        for name, colour, marker in looks:
            if name in lines:
                axes.plot(*lines[name], color=colour, linewidth=1, alpha=0.6, marker="." if name in lone else "")
            if name in validation:
                axes.plot(*validation[name], marker, color=colour, markersize=6, mec="white", mew=0.6)
        axes.set(ylim=limits, xmargin=0.02, xlabel=x_label, ylabel="Bits per dimension", axisbelow=True)
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(axis="y", color=style.FAINT, linewidth=0.6)
        _draw_legend(axes, looks, bool(lines), bool(validation))


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


def _draw_legend(axes: "Axes", looks: list[tuple[str, str, str]], has_lines: bool, has_marks: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, marker=marker if has_marks else "") for _, colour, marker in looks]
    texts = [name for name, *_ in looks]
    if has_lines and has_marks:
        (name, only, mark), *others = looks
        colour = style.MUTED if others else only
        both = [
            Line2D([], [], color=colour, linewidth=1),
            Line2D([], [], color=colour, linestyle="none", marker="o" if others else mark, markersize=6),
        ]
        said = ["training, mean of each epoch", "validation"]
        handles, texts = (handles + both, texts + said) if others else (both, [f"{name}: {said[0]}", said[1]])
    axes.legend(handles, texts, loc="best")
