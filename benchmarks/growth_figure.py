"""How cost grows: measured points over the line that a count of operations predicts."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from mae_hydra.figures.chart import dress, new_figure
from mae_hydra.figures.style import INK, QUIET_INK, SERIES_COLOURS, css


class Growth(NamedTuple):
    """`predicted` is None where nothing predicts the measured values."""

    key: str
    unit: str
    settings: Sequence[float]
    measured: Sequence[float]
    predicted: Sequence[float] | None


def growth(panels: Sequence[Growth], *, title: str) -> Figure:
    """One axes a key: points measured, a line predicted."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = new_figure(4.0 * columns, 3.1 * rows)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=css(INK), fontweight="bold")
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        dress(axes, grid="y")
        if panel.predicted is not None:
            axes.plot(panel.settings, panel.predicted, color=css(QUIET_INK), linewidth=1.6, label="predicted")
        axes.plot(panel.settings, panel.measured, "o", color=SERIES_COLOURS[0], markersize=6, label="measured")
        axes.set_xlabel(panel.key)
        axes.set_ylabel(panel.unit)
        axes.set_ylim(bottom=0)
        axes.set_xticks(list(panel.settings), [f"{setting:g}" for setting in panel.settings])
        if index == 0:
            axes.legend(frameon=False, fontsize=8.5, labelcolor=css(INK))
    return figure
