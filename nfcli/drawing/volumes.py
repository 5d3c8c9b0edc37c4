"""The picture of sigmoid dequantization: which part of the real line each discrete value owns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nfcli.drawing import style
from nfcli.drawing.levels import (
    Floats,
    check_prior,
    induced_density,
    labelled_levels,
    level_intervals,
    level_volumes,
)
from nfcli.drawing.output import PathLike
from nfcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

TAIL = 4
"""Units of the real line shown of each outer interval, long and nearly empty: by then its density is a fiftieth."""

EVERY_LEVEL = 8
"""Up to so many values each interval is labelled, beyond only a few of them."""

WIDTH_ROW, VALUE_ROW = 23, 44
"""Middle of the two rows of numbers, in points above the axes."""

COLOURS = (style.BLUE, style.PALE_BLUE)


def check_priors(levels: int, prior: ArrayLike | None, name: str = "Given prior") -> dict[str, Floats]:
    """The uniform prior and, if there is one, the prior of that name, (levels,) each, by the title of its panel.

    Raises:
        UsageError: There are fewer than 2 levels, or the prior is no distribution over them.
    """
    if levels < 2:
        raise UsageError(f"the volumes of {levels} values cannot be compared", hint="give at least 2 levels")
    priors = {f"Uniform prior over {levels} values": np.full(levels, 1 / levels)}
    if prior is not None:
        given = check_prior(prior)
        if len(given) != levels:
            raise UsageError(
                f"the prior has {len(given)} probabilities for {levels} values",
                hint="give one probability for each value",
            )
        priors[f"{name} over {levels} values"] = given
    return priors


def draw_volumes(row: Sequence[Axes], priors: dict[str, Floats], alpha: float) -> None:
    """Draw the density that each prior induces on one of the axes, the values' intervals in alternating colours."""
    for axes, (name, prior) in zip(row, priors.items(), strict=True):
        intervals = level_intervals(len(prior), alpha)
        end = float(intervals[-1, 1])
        reach = min(end, math.ceil(intervals[-1, 0] + TAIL))
        shown = intervals.clip(-reach, reach)
        _draw_density(axes, shown, prior, alpha)
        _draw_header(axes, shown, level_volumes(len(prior), alpha))
        axes.set_xlim(-reach, reach)
        axes.set_ylim(bottom=0)
        axes.set_title(name, pad=VALUE_ROW + 12)
        axes.set_xlabel(f"Real line, $y$ (outer intervals end at $\\pm${end:.1f})")
    row[0].set_ylabel("Density per unit of $y$")


def volumes_figure(
    path: PathLike, *, levels: int = 8, alpha: float, prior: ArrayLike | None = None, title: str | None = None
) -> None:
    """The interval of the real line that each discrete value owns, and the density that a prior over them induces.

    Args:
        path: The PNG file.
        levels: Number of discrete values.
        alpha: The squash before the logit.
        prior: (levels,) probabilities for a second panel beside the uniform prior's.
        title: Title of the figure.

    Raises:
        UsageError: There are fewer than 2 levels, or the prior is no distribution over them.
        WriteError: The file cannot be written.
    """
    priors = check_priors(levels, prior)
    with style.png_figure(path, style.PANEL_WIDTH, style.PANEL_HEIGHT) as figure:
        style.set_figure_title(figure, title)
        draw_volumes(style.panels(figure, [len(priors)])[0], priors, alpha)


def _draw_density(axes: Axes, shown: Floats, prior: Floats, alpha: float) -> None:
    points = 200 if len(prior) <= EVERY_LEVEL else 20
    for k, (low, high) in enumerate(shown):
        # The upper border belongs to the next value, whose density may be another.
        y = np.linspace(low, np.nextafter(high, low), points)
        axes.fill_between(y, induced_density(y, prior, alpha), color=COLOURS[k % 2], linewidth=0)


def _draw_header(axes: Axes, shown: Floats, volumes: Floats) -> None:
    """Above the axes: a band of the intervals, and over it each value and the full width of its interval."""
    above = axes.get_xaxis_transform()
    for k, (low, high) in enumerate(shown):
        axes.fill_between([low, high], 1.02, 1.05, color=COLOURS[k % 2], linewidth=0, transform=above, clip_on=False)
    levels = len(volumes)
    for k in range(levels) if levels <= EVERY_LEVEL else labelled_levels(levels, logit=True):
        at, volume = (float(shown[k].mean()), 1.0), float(volumes[k])
        width = f"{volume:.2f}" if volume < 10 else f"{volume:.1f}"
        _write_above(axes, width, at, WIDTH_ROW, fontsize=8.5, rotation=90)
        _write_above(axes, str(k), at, VALUE_ROW, fontsize=9.5, fontweight="bold")
    for name, row in (("width", WIDTH_ROW), ("value", VALUE_ROW)):
        _write_above(axes, name, None, row, fontsize=9, color=style.MUTED)


def _write_above(axes: Axes, text: str, at: tuple[float, float] | None, points: float, **font: Any) -> None:
    """Centre text over a position, or right-align it with the left spine, `points` above the axes' upper border.

    In points, since rows sized as a share of the axes would collide in a low panel.
    """
    axes.annotate(
        text,
        at or (0, 1),
        xycoords=("data" if at else "axes fraction", "axes fraction"),
        xytext=(0 if at else -5, points),
        textcoords="offset points",
        ha="center" if at else "right",
        va="center",
        annotation_clip=False,
        **font,
    )
