"""The two parts of a coupling layer that are seen sooner than read: the limit on its scale, and its masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from nfcli.drawing import style
from nfcli.flows.coupling import limit_scale
from nfcli.flows.partitions import make_mask
from nfcli.presets.layers import MaskKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FACTORS = (0.5, 1.0, 2.0)
SHAPE = (8, 8, 2)

MASKS: tuple[tuple[MaskKind, int, str, str], ...] = (
    ("checkerboard", 0, "Checkerboard mask", "every channel"),
    ("channel", 0, "Channel mask", "channel 0"),
    ("channel", 1, "", "channel 1"),
)
"""Kind, which of its channels, title, and what stands below."""

PASSES, CHANGES = style.BLUE, style.FAINT


def save_explain_figure(path: Path, *, dpi: int | None = None) -> None:
    """Draw the limit on the scale for three factors, the checkerboard mask and the channel mask.

    Raises:
        WriteError: The file cannot be written.
    """
    with style.figure(path, style.PANEL_WIDTH, 2.9, dpi=dpi) as figure:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.7), wspace=0.04)[0]
        _draw_scale_limit(left.subplots())
        row = right.subplots(1, len(MASKS))
        for axes, (kind, channel, title, caption) in zip(row, MASKS, strict=True):
            mask = np.broadcast_to(make_mask(kind, SHAPE), (1, *SHAPE))
            _draw_mask(axes, mask[0, :, :, channel], title, caption)
        _draw_key(row[1])


def _draw_scale_limit(axes: "Axes") -> None:
    x = jnp.linspace(-5, 5, 501)
    for factor, colour, line in zip(FACTORS, style.SERIES, ("-", "--", "-."), strict=False):
        axes.plot(x, limit_scale(x, jnp.asarray(factor)), color=colour, linestyle=line)
        axes.text(5.15, factor, f"$f = {factor:g}$", color=colour, va="center")
    axes.set(xlim=(-5, 5), ylim=(-2.2, 2.2), xticks=[-4, -2, 0, 2, 4], axisbelow=True)
    axes.set(title="Scale limit", xlabel="Network output $x$", ylabel=r"$s = \tanh(x\,/\,f)\;f$")
    axes.grid(color=style.FAINT, linewidth=0.6)


def _draw_mask(axes: "Axes", mask: np.ndarray, title: str, caption: str) -> None:
    from matplotlib.colors import ListedColormap

    axes.pcolormesh(mask, cmap=ListedColormap([CHANGES, PASSES]), vmin=0, vmax=1, edgecolors="white", linewidth=1)
    # Row 0 at the top, as in an image.
    axes.invert_yaxis()
    axes.set_aspect("equal", anchor="N")
    axes.set_axis_off()
    axes.set_title(title)
    axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=9, color=style.MUTED)


def _draw_key(axes: "Axes") -> None:
    from matplotlib.patches import Patch

    words = {PASSES: "1: passes through and conditions", CHANGES: "0: transformed"}
    handles = [Patch(facecolor=colour, label=label) for colour, label in words.items()]
    look: dict[str, Any] = {"ncols": 2, "handlelength": 1, "handleheight": 1}
    legend = axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), **look)
    # Wider than its axes; the layout would shrink all masks to make room for it between them.
    legend.set_in_layout(False)
