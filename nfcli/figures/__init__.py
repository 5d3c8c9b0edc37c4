"""Arrays to PNG files: image grids, and figures of dequantization, couplings and training.

Knows nothing of models, runs or the command line. Importing it loads numpy; matplotlib and pillow load on first use.
"""

from nfcli.figures.curves import save_learning_curves
from nfcli.figures.dequantization import DequantizationPanels, save_dequantization_figure
from nfcli.figures.explain import channel_mask, checkerboard_mask, save_explain_figure, scale_limit
from nfcli.figures.grid import image_grid, interpolation_grid, save_grid, save_interpolation
from nfcli.figures.histograms import histogram_figure
from nfcli.figures.levels import induced_density, level_intervals, level_volumes, to_real_line
from nfcli.figures.output import save_png
from nfcli.figures.volumes import volumes_figure

__all__ = [
    "DequantizationPanels",
    "channel_mask",
    "checkerboard_mask",
    "histogram_figure",
    "image_grid",
    "induced_density",
    "interpolation_grid",
    "level_intervals",
    "level_volumes",
    "save_dequantization_figure",
    "save_explain_figure",
    "save_grid",
    "save_interpolation",
    "save_learning_curves",
    "save_png",
    "scale_limit",
    "to_real_line",
    "volumes_figure",
]
