"""Drawing, and nothing else: sheets of pictures, class overlays, curves and bars.

Knows arrays and names, no model and no run. Charts bring matplotlib along when the first one is asked for: it takes a
second to import, and most of a run needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mae_hydra.figures.overlay import LegendEntry, colour_classes, find_boundaries, legend_of, overlay
from mae_hydra.figures.sheet import fit, sheet

if TYPE_CHECKING:
    from mae_hydra.figures.bars import class_bars
    from mae_hydra.figures.chart import save, to_pixels
    from mae_hydra.figures.lines import Panel, Series, curves, series_of
    from mae_hydra.figures.matrix import confusion_matrix
    from mae_hydra.figures.on_page import to_svgs, variables
    from mae_hydra.figures.over_labels import Arm, label_curves
    from mae_hydra.figures.search_plots import TrialPoint, search_figure
    from mae_hydra.figures.sweep_plots import Marginal, heat_map, marginals, parallel_coordinates

__all__ = [
    "Arm",
    "LegendEntry",
    "Marginal",
    "Panel",
    "Series",
    "TrialPoint",
    "class_bars",
    "colour_classes",
    "confusion_matrix",
    "curves",
    "find_boundaries",
    "fit",
    "heat_map",
    "label_curves",
    "legend_of",
    "marginals",
    "overlay",
    "parallel_coordinates",
    "save",
    "search_figure",
    "series_of",
    "sheet",
    "to_pixels",
    "to_svgs",
    "variables",
]

_CHARTS = {
    "bars": ("class_bars",),
    "chart": ("save", "to_pixels"),
    "over_labels": ("Arm", "label_curves"),
    "lines": ("Panel", "Series", "curves", "series_of"),
    "matrix": ("confusion_matrix",),
    "on_page": ("to_svgs", "variables"),
    "search_plots": ("TrialPoint", "search_figure"),
    "sweep_plots": ("Marginal", "heat_map", "marginals", "parallel_coordinates"),
}


def __getattr__(name: str) -> Any:
    for module, names in _CHARTS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
