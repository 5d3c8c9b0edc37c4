"""The two parts of a coupling layer that are seen sooner than read: the limit on its scale, and its masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfcli.drawing import style
from nfcli.drawing.output import PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FACTORS = (0.5, 1.0, 2.0)
SIDE = 8
CHANNELS = 2

PASSES = style.BLUE
CHANGES = "#E4E4E4"


def scale_limit(x: ArrayLike, factor: float) -> NDArray[np.float64]:
    """`tanh(x / factor) * factor`, of the shape of `x`: the identity near 0, never beyond `factor`."""
    return np.tanh(np.asarray(x, dtype=np.float64) / factor) * factor


def checkerboard_mask(height: int, width: int) -> NDArray[np.uint8]:
    """(height, width) of `(i + j) mod 2`: 1 passes through and conditions, 0 is transformed (arXiv:1605.08803, 3.4)."""
    rows, columns = np.indices((height, width))
    return ((rows + columns) % 2).astype(np.uint8)


def channel_mask(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """(height, width, channels), 1 in the first half of the channels, rounded down, and 0 in the others."""
    mask = np.zeros((height, width, channels), dtype=np.uint8)
    mask[:, :, : channels // 2] = 1
    return mask


def save_explain_figure(path: PathLike) -> None:
    """Write the limit on the scale for three factors, the checkerboard mask and the channel mask to a PNG file.

    Raises:
        WriteError: The file cannot be written.
    """
    with style.png_figure(path, style.PANEL_WIDTH, 2.9) as figure:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.7), wspace=0.04)[0]
        _draw_scale_limit(left.subplots())
        row = right.subplots(1, 1 + CHANNELS)
        channels = channel_mask(SIDE, SIDE, CHANNELS)
        _draw_mask(row[0], checkerboard_mask(SIDE, SIDE), "Checkerboard mask", "every channel")
        for channel in range(CHANNELS):
            title = "Channel mask" if channel == 0 else ""
            _draw_mask(row[1 + channel], channels[:, :, channel], title, f"channel {channel}")
        _draw_key(row[1])


def _draw_scale_limit(axes: Axes) -> None:
    x = np.linspace(-5, 5, 501)
    for factor, colour, line in zip(FACTORS, style.SERIES, ("-", "--", "-."), strict=False):
        axes.plot(x, scale_limit(x, factor), color=colour, linestyle=line)
        axes.text(5.15, factor, f"$f = {factor:g}$", color=colour, va="center")
    axes.set_xlim(-5, 5)
    axes.set_ylim(-2.2, 2.2)
    axes.set_xticks([-4, -2, 0, 2, 4])
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title("Scale limit")
    axes.set_xlabel("Network output $x$")
    axes.set_ylabel(r"$s = \tanh(x\,/\,f)\;f$")


def _draw_mask(axes: Axes, mask: NDArray[np.uint8], title: str, caption: str) -> None:
    from matplotlib.colors import ListedColormap

    axes.pcolormesh(mask, cmap=ListedColormap([CHANGES, PASSES]), vmin=0, vmax=1, edgecolors="white", linewidth=1)
    # Row 0 at the top, as in an image.
    axes.invert_yaxis()
    axes.set_aspect("equal", anchor="N")
    axes.set_axis_off()
    axes.set_title(title)
    axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=9, color=style.MUTED)


def _draw_key(axes: Axes) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=PASSES, label="1: passes through and conditions"),
        Patch(facecolor=CHANGES, label="0: transformed"),
    ]
    legend = axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, handlelength=1, handleheight=1
    )
    # Wider than its axes; the layout would shrink all masks to make room for it between them.
    legend.set_in_layout(False)
