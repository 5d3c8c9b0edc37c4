"""The look of every figure: sizes, colours, and one way from an empty figure to a file.

Matplotlib is imported on use and only through its objects, so no window system, no global figure list, and settings of
the user's own `matplotlibrc` neither change our figures nor are changed by them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfcli.files import write_bytes
from nfcli.runs.outputs import SIGNATURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Target = Path | BytesIO
"""A .png, .pdf or .svg file, or memory for a PNG."""

DPI = 200
"""Pixels an inch, where nobody asked for another number."""

PANEL_WIDTH, PANEL_HEIGHT = 9.2, 3.7
"""Size of a row of one or two panels, in inches."""

INK = "#222222"
MUTED = "#5F5F5F"
FAINT = "#E4E4E4"
BLUE = "#0072B2"
PALE_BLUE = "#9CCBE8"
VERMILION = "#D55E00"

SERIES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, for every kind of colour vision; without its yellow, which is too pale for lines."""

_SETTINGS: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"), 0.07),
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "lines.linewidth": 1.8,
    "pdf.fonttype": 42,  # letters stay letters, for those who edit or search the figure
    "svg.hashsalt": "nf",  # names within the file would be random
}
"""What differs from matplotlib's own defaults."""


_SAID: dict[str, dict[str, str | None]] = {
    "png": {"Software": SIGNATURE},
    "pdf": {"Creator": SIGNATURE, "Producer": None, "CreationDate": None},
    "svg": {"Creator": SIGNATURE, "Date": None},
}
"""In files of each kind: the same figure must be the same bytes, whenever and by whichever version it was drawn."""

FORMATS = tuple(f".{kind}" for kind in _SAID)
"""Suffixes of pictures."""


@contextmanager
def figure(
    target: Target, width: float, height: float, *, dpi: int | None = None, constrained: bool = True
) -> Iterator["Figure"]:
    """An empty figure of `width` x `height` inches to draw on; it is written to `target` when the block ends well.

    Args:
        target: The file.
        width, height: In inches.
        dpi: Pixels an inch; None for 200.
        constrained: Make room for words; not where everything is at a place of its own.

    Raises:
        WriteError: The file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    buffer, kind = (BytesIO(), target.suffix.lower()[1:]) if isinstance(target, Path) else (target, "png")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        drawn = Figure(figsize=(width, height), dpi=dpi or DPI, layout="constrained" if constrained else None)
        yield drawn
        drawn.savefig(buffer, format=kind, dpi=dpi or DPI, metadata=_SAID[kind])
    if isinstance(target, Path):
        write_bytes(target, buffer.getvalue())
