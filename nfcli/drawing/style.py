"""The look of every figure: sizes, colours, and one way from an empty figure to a PNG file.

Matplotlib is imported on use and only through its objects, so no window system, no global figure list, and settings of
the user's own `matplotlibrc` neither change our figures nor are changed by them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfcli.drawing.output import PathLike
from nfcli.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 200

PANEL_WIDTH, PANEL_HEIGHT = 9.2, 3.7
"""Size of a row of one or two panels, in inches."""

INK = "#222222"
MUTED = "#5F5F5F"
BLUE = "#0072B2"
PALE_BLUE = "#9CCBE8"
VERMILION = "#D55E00"

SERIES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, for every kind of colour vision; without its yellow, which is too pale for lines."""

_SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.h_pad": 0.07,
    "figure.constrained_layout.w_pad": 0.07,
    "mathtext.fontset": "dejavusans",
}


@contextmanager
def png_figure(path: PathLike, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of `width` x `height` inches to draw on; it is written to `path` when the block ends well.

    Raises:
        WriteError: The file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    buffer = BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        # Without the name and version of the library: the same figure must be the same bytes.
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    write_bytes(Path(path), buffer.getvalue())


def panels(figure: Figure, counts: Sequence[int]) -> list[list[Axes]]:
    """Rows of `counts` panels each, 1 or as many as the longest row; panels below each other are aligned."""
    columns = max(counts)
    grid = figure.add_gridspec(len(counts), columns)
    return [
        [figure.add_subplot(grid[row, :] if count == 1 else grid[row, column]) for column in range(count)]
        for row, count in enumerate(counts)
    ]


def set_figure_title(figure: Figure, title: str | None) -> None:
    """Title a whole figure, if there is a title, flush left like the panels'."""
    if title is not None:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold").set_parse_math(False)
