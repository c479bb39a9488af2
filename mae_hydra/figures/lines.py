"""Curves of one or several runs: loss, mIoU or learning rate against the step, one axes per quantity."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from mae_hydra.figures.chart import dress, new_figure
from mae_hydra.figures.style import INK, colours_of, css

FEW_POINTS = 25  # up to here every point is marked, from here on a noisy curve is smoothed
PANEL = 5.4, 3.3  # inches, width and height
MOST_ROWS = 8  # of a legend, in the height of a panel
LETTER = 0.062  # inches of a legend's small print
PLAIN: Any = {"frameon": False, "labelcolor": css(INK)}


@dataclass(frozen=True)
class Series:
    """One curve: values `y` at `x` (the step, mostly), under a name for the legend."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """One axes: a quantity and its curves. Where `smooth`, a noisy curve is drawn faint under its running mean."""

    title: str
    series: Sequence[Series]
    y_label: str = ""
    x_label: str = "step"
    log: bool = False
    smooth: bool = False


def series_of(rows: Sequence[Mapping[str, Any]], key: str, name: str, *, x: str = "step") -> Series:
    """The curve of `key` in the rows of a metrics.jsonl, sorted by `x`.

    Rows without it, or with null or NaN, are left out; of rows with equal `x` the last one counts.
    """
    points = {row[x]: float(row[key]) for row in rows if row.get(key) is not None and x in row}
    points = {at: value for at, value in sorted(points.items()) if np.isfinite(value)}
    return Series(name, tuple(float(at) for at in points), tuple(points.values()))


def curves(panels: Sequence[Panel], *, title: str = "", columns: int = 2) -> Figure:
    """All panels in one figure, at most `columns` side by side; a run has the same colour in every panel."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = PANEL[0] * columns, PANEL[1] * rows + (0.45 if title else 0.1)
    colours = colours_of(series.name for panel in panels for series in panel.series)
    entry = 0.6 + LETTER * max(map(len, colours), default=0)
    below = any(len(panel.series) > 1 and _columns(panel) * entry > PANEL[0] - 1 for panel in panels)
    side_by_side = max(1, int((width - 0.3) / entry))
    figure = new_figure(width, height + below * (0.1 + 0.17 * math.ceil(len(colours) / side_by_side)))
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw(axes, panel, colours)
        if len(panel.series) > 1 and not below:
            axes.legend(fontsize=9 if _columns(panel) == 1 else 7, ncols=_columns(panel), **PLAIN)
    if below:  # once for all panels, where it would cover the curves
        lines = {str(line.get_label()): line for axes in figure.axes for line in axes.lines}
        named = [name for name in colours if name in lines]
        place: Any = {"loc": "outside lower left", "ncols": side_by_side}
        figure.legend([lines[name] for name in named], named, fontsize=7, **place, **PLAIN)
    if title:
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", color=css(INK))
    return figure


def _draw(axes: Axes, panel: Panel, colours: Mapping[str, str]) -> None:
    dress(axes, grid="y")
    for series in panel.series:
        x, y = np.array(series.x), np.array(series.y)
        colour = colours[series.name]
        if panel.smooth and len(x) > FEW_POINTS:
            axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.22)
            axes.plot(x, running_mean(y), color=colour, linewidth=2, label=series.name)
        else:
            marker = "o" if len(x) <= FEW_POINTS else None
            axes.plot(x, y, color=colour, linewidth=2, marker=marker, markersize=4, label=series.name)
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_title(panel.title, loc="left", fontsize=10.5, fontweight="bold", color=css(INK), pad=10)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.02)


def _columns(panel: Panel) -> int:
    """Of a legend, which taller than its panel would leave no room for the curves."""
    return math.ceil(len(panel.series) / MOST_ROWS)


def running_mean(values: np.ndarray) -> np.ndarray:
    """Mean over a window of a 25th of the curve, centred; at the ends over what there is of it."""
    half = max(1, len(values) // 50)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
