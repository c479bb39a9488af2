"""Drawing, and nothing else: sheets of pictures, class overlays, curves and bars.

Knows arrays and names, no model and no run.
"""

from mae_hydra.figures.bars import class_bars
from mae_hydra.figures.curves import Panel, Series, curves, series_of
from mae_hydra.figures.matrix import confusion_matrix
from mae_hydra.figures.overlay import LegendEntry, colour_classes, find_boundaries, legend_of, overlay
from mae_hydra.figures.sheet import fit, sheet
from mae_hydra.figures.style import save, to_pixels
from mae_hydra.figures.sweep_plots import Marginal, heat_map, marginals, parallel_coordinates

__all__ = [
    "LegendEntry",
    "Marginal",
    "Panel",
    "Series",
    "class_bars",
    "colour_classes",
    "confusion_matrix",
    "curves",
    "find_boundaries",
    "fit",
    "heat_map",
    "legend_of",
    "marginals",
    "overlay",
    "parallel_coordinates",
    "save",
    "series_of",
    "sheet",
    "to_pixels",
]
