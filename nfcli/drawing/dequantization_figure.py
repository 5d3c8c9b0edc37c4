"""One picture of what dequantization does: a model's histograms above, the volume that each value gets below."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from nfcli.drawing import style
from nfcli.drawing.histograms import Space, check_histograms
from nfcli.drawing.output import PathLike
from nfcli.drawing.volumes import check_priors, draw_volumes


@dataclass(frozen=True, kw_only=True)
class DequantizationPanels:
    """Everything that `save_dequantization_figure` draws.

    Attributes:
        edges: (bins + 1,) ascending borders of the histograms' bins, `v` or `y` as `space` says.
        uniform_density: (bins,) density of pixels dequantized with uniform noise, per unit of `edges`.
        learned_density: (bins,) the same with learned noise; None leaves the panel out.
        space: Where the pixels are counted: "unit" for `v` in [0, 1), "logit" for `y` on the real line. With one bin a
            value the two kinds of noise cannot differ on the unit interval.
        alpha: The squash before the logit.
        data_levels: Number of values that a pixel can take.
        levels: Number of values in the picture of volumes.
        prior: (levels,) probability of each of them for a second picture of volumes; None leaves it out.
        prior_name: What its panel is called.
    """

    edges: ArrayLike
    uniform_density: ArrayLike
    learned_density: ArrayLike | None = None
    space: Space
    alpha: float
    data_levels: int = 256
    levels: int = 8
    prior: ArrayLike | None = None
    prior_name: str = "Given prior"


def save_dequantization_figure(
    path: PathLike, panels: DequantizationPanels, *, title: str | None = None, narrow: bool = False
) -> None:
    """Histograms above, volumes below, in one PNG; a row with a single panel is as wide as the figure.

    Args:
        path: The PNG file.
        panels: What to draw.
        title: Title of the figure.
        narrow: For a phone: all panels below each other.

    Raises:
        UsageError: Shapes do not agree, a density cannot be drawn, or the prior is no distribution over the levels.
        WriteError: The file cannot be written.
    """
    histograms = check_histograms(
        panels.edges,
        panels.uniform_density,
        panels.learned_density,
        levels=panels.data_levels,
        alpha=panels.alpha,
        space=panels.space,
    )
    priors = check_priors(panels.levels, panels.prior, panels.prior_name)
    counts = [len(histograms.densities), len(priors)]
    rows, width = (sum(counts), style.PANEL_WIDTH / 2) if narrow else (2, style.PANEL_WIDTH)
    with style.png_figure(path, width, rows * style.PANEL_HEIGHT) as figure:
        style.set_figure_title(figure, title)
        drawn = style.panels(figure, [1] * rows if narrow else counts)
        axes = [one for row in drawn for one in row]
        above, below = axes[: counts[0]], axes[counts[0] :]
        histograms.draw(above)
        draw_volumes(below, priors, panels.alpha)
        if narrow:  # no neighbour has the numbers
            for one in axes:
                one.tick_params(labelleft=True)
