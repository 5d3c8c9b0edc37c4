"""Histograms of dequantized pixels: uniform noise beside learned noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from nfcli.drawing import style
from nfcli.drawing.levels import Floats, labelled_levels, to_real_line
from nfcli.drawing.output import PathLike
from nfcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

Space = Literal["unit", "logit"]
"""Where dequantized pixels are counted: `v` in [0, 1), or `y` on the real line after squash and logit.

Learned noise moves a pixel only within its own value's interval. So on the unit interval, with one bin a value, both
kinds of noise give the same histogram; the real line is where they differ.
"""

DECADES = 6
"""Powers of ten that a histogram shows at most."""


@dataclass(frozen=True)
class Histograms:
    """Checked histograms over common bins.

    Attributes:
        edges: (bins + 1,) ascending borders of the bins.
        densities: (bins,) density per unit of `edges`, by the title of its panel.
        levels: Number of values that a pixel can take.
        alpha: The squash before the logit.
        space: Where the pixels are counted.
    """

    edges: Floats
    densities: dict[str, Floats]
    levels: int
    alpha: float
    space: Space

    def draw(self, row: Sequence[Axes]) -> None:
        """Draw one histogram on each of the axes, with the same limits."""
        positive = np.concatenate([density[density > 0] for density in self.densities.values()])
        floor = max(positive.min() / 2, positive.max() / 10**DECADES)
        colours = (style.BLUE, style.VERMILION)
        for index, (axes, (name, density)) in enumerate(zip(row, self.densities.items(), strict=True)):
            # Four fifths of MNIST's pixels are black: without the logarithm nothing but that one value could be seen.
            axes.set_yscale("log")
            bars = np.maximum(density, floor)
            axes.stairs(bars, self.edges, baseline=floor, fill=True, color=colours[index], linewidth=0)
            axes.set_xlim(self.edges[0], self.edges[-1])
            axes.set_ylim(floor, positive.max() * 1.6)
            axes.set_title(name)
            self._label(axes)
            axes.tick_params(labelleft=index == 0)
        row[0].set_ylabel(f"Density per unit of ${'y' if self.space == 'logit' else 'v'}$ (log scale)")

    def _label(self, axes: Axes) -> None:
        logit = self.space == "logit"
        axes.set_xlabel("Dequantized pixel, $y$ on the real line" if logit else "Dequantized pixel, $v$ in [0, 1)")
        pixel_axis = axes.secondary_xaxis("top")
        shown = labelled_levels(self.levels, logit=logit)
        centres = (np.array(shown) + 0.5) / self.levels
        pixel_axis.set_xticks(to_real_line(centres, self.alpha) if logit else centres, labels=[str(k) for k in shown])
        pixel_axis.set_xlabel("Pixel value", color=style.MUTED, fontsize=9)
        pixel_axis.tick_params(labelsize=9, colors=style.MUTED)
        pixel_axis.spines["top"].set_visible(False)


def check_histograms(
    edges: ArrayLike, uniform: ArrayLike, learned: ArrayLike | None, *, levels: int, alpha: float, space: Space
) -> Histograms:
    """Histograms that can be drawn.

    Raises:
        UsageError: Shapes do not agree, edges do not ascend, or a density is negative or zero everywhere.
    """
    edges = np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or edges.size < 2 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        raise UsageError("the borders of the histogram's bins do not ascend", hint="give finite, ascending borders")
    if space == "unit" and (edges[0] < 0 or edges[-1] > 1):
        raise UsageError(
            f"bins from {edges[0]:g} to {edges[-1]:g} leave the unit interval",
            hint="count values on the real line with space='logit'",
        )
    if levels < 2:
        raise UsageError(f"{levels} pixel values make no histogram", hint="give at least 2 levels")
    given = {"Uniform noise": uniform} | ({} if learned is None else {"Learned noise": learned})
    densities = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    for name, density in densities.items():
        valid = density.shape == (edges.size - 1,) and np.isfinite(density).all() and (density >= 0).all()
        if not valid or not density.any():
            raise UsageError(
                f"the histogram of {name.lower()} cannot be drawn",
                hint=f"give {edges.size - 1} finite, non-negative densities that are not all 0",
            )
    return Histograms(edges, densities, levels, alpha, space)


def histogram_figure(
    path: PathLike,
    *,
    edges: ArrayLike,
    uniform_density: ArrayLike,
    learned_density: ArrayLike | None = None,
    levels: int,
    alpha: float,
    space: Space,
    title: str | None = None,
) -> None:
    """Histogram of dequantized pixels: uniform noise, and beside it learned noise if there is any.

    Args:
        path: The PNG file.
        edges: (bins + 1,) ascending borders of the bins, `v` or `y` as `space` says.
        uniform_density: (bins,) density of pixels dequantized with uniform noise, per unit of `edges`.
        learned_density: (bins,) the same with learned noise; None leaves the panel out.
        levels: Number of values that a pixel can take.
        alpha: The squash before the logit.
        space: Where the pixels are counted.
        title: Title of the figure.

    Raises:
        UsageError: Shapes do not agree, edges do not ascend, or a density is negative or zero everywhere.
        WriteError: The file cannot be written.
    """
    histograms = check_histograms(edges, uniform_density, learned_density, levels=levels, alpha=alpha, space=space)
    with style.png_figure(path, style.PANEL_WIDTH, style.PANEL_HEIGHT) as figure:
        style.set_figure_title(figure, title)
        histograms.draw(style.panels(figure, [len(histograms.densities)])[0])
