"""What a sweep found: a metric against each swept key, two keys as a heat map, all keys as parallel coordinates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mae_hydra.figures.chart import dress, is_number, new_figure, setting_text
from mae_hydra.figures.matrix import COLOURS
from mae_hydra.figures.style import FRAME, INK, PAPER, QUIET_INK, RAMP, SERIES_COLOURS, css

Value = float | str
SPREAD = LinearSegmentedColormap.from_list("worst to best", RAMP[1:])


@dataclass(frozen=True)
class Marginal:
    """A metric against one key: all values found at each setting, in the order in which settings are to stand."""

    key: str
    metric: str
    points: Mapping[Value, Sequence[float]]
    higher_is_better: bool

    @property
    def best(self) -> Value:
        choose = max if self.higher_is_better else min
        return choose(self.points, key=lambda setting: fmean(self.points[setting]))


def marginals(panels: Sequence[Marginal], *, columns: int = 2) -> Figure:
    """One axes a key and metric: the mean at each setting, its standard deviation as a bar, and every single value."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(5.0 * columns, 3.3 * rows)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        dress(axes, grid="y")
        settings = list(panel.points)
        numeric = all(map(is_number, settings))
        places = np.array([float(s) for s in settings]) if numeric else np.arange(len(settings), dtype=float)
        means = [fmean(panel.points[setting]) for setting in settings]
        spreads = [stdev(v) if len(v) > 1 else 0.0 for v in panel.points.values()]
        colour = SERIES_COLOURS[0]
        for place, values in zip(places, panel.points.values(), strict=True):
            if len(values) > 1:
                axes.plot([place] * len(values), values, "o", color=colour, alpha=0.3, markersize=3.5, mew=0)
        style: dict[str, Any] = {
            "color": colour,
            "linewidth": 2 if numeric else 0,  # categories have nothing between them
            "marker": "o",
            "markersize": 5.5 if numeric else 8,
            "elinewidth": 1.4,
            "capsize": 3,
        }
        axes.errorbar(places, means, yerr=spreads if any(spreads) else None, **style)
        if not numeric:
            axes.set_xticks(places, [setting_text(setting) for setting in settings])
            axes.margins(x=0.15)
        else:
            _number_ticks(axes, places)
        at = settings.index(panel.best)
        axes.annotate(
            f"{means[at]:.4g}",
            (float(places[at]), means[at] + spreads[at]),
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            fontweight="bold",
            color=css(INK),
        )
        axes.margins(y=0.18)
        axes.set_title(panel.metric, loc="left", fontsize=10.5, fontweight="bold", color=css(INK), pad=10)
        axes.set_xlabel(panel.key)
    return figure


def _number_ticks(axes: Axes, places: np.ndarray) -> None:
    """A tick at every setting; a logarithmic axis where they grow by factors."""
    positive = places.min() > 0 and len(places) > 2
    if positive and places.max() / places.min() > 20:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(places, [f"{place:g}" for place in places])


def heat_map(
    values: Mapping[tuple[Value, Value], float], *, keys: tuple[str, str], metric: str, higher_is_better: bool
) -> Figure:
    """The mean of `metric` at each pair of settings, (down, across); pairs that are not there stay empty."""
    down = _sorted({first for first, _ in values})
    across = _sorted({second for _, second in values})
    grid = np.array([[values.get((first, second), np.nan) for second in across] for first in down])
    figure = new_figure(2.4 + 0.85 * len(across), 1.5 + 0.55 * len(down))
    axes = figure.add_subplot()
    axes.imshow(grid if higher_is_better else -grid, cmap=COLOURS, aspect="auto")
    shade = grid if higher_is_better else -grid
    low, high = np.nanmin(shade), np.nanmax(shade)
    best = np.nanargmax(shade)
    for place, value in np.ndenumerate(grid):
        if np.isnan(value):
            continue
        dark = high > low and (shade[place] - low) / (high - low) > 0.5
        bold = np.ravel_multi_index(place, grid.shape) == best
        text: dict[str, Any] = {
            "color": css(PAPER if dark else INK),
            "fontweight": "bold" if bold else "normal",
            "fontsize": 9,
        }
        axes.text(place[1], place[0], f"{value:.4g}", ha="center", va="center", **text)
    for side in axes.spines.values():
        side.set_color(css(FRAME))
    axes.tick_params(colors=css(QUIET_INK), labelsize=8.5, length=0)
    axes.set_xticks(range(len(across)), [setting_text(value) for value in across])
    axes.set_yticks(range(len(down)), [setting_text(value) for value in down])
    axes.set_ylabel(keys[0], color=css(QUIET_INK), fontsize=9)
    axes.set_xlabel(keys[1], color=css(QUIET_INK), fontsize=9)
    axes.set_title(metric, loc="left", fontsize=10.5, fontweight="bold", color=css(INK), pad=10)
    return figure


def parallel_coordinates(
    rows: Sequence[Mapping[str, Value]], *, keys: Sequence[str], metric: str, higher_is_better: bool
) -> Figure:
    """A line for each job through its settings to its metric, which is the last axis; the better, the darker."""
    axes_names = [*keys, metric]
    figure = new_figure(1.2 + 1.7 * len(axes_names), 3.6)
    axes = figure.add_subplot()
    scales = [_scale([row[name] for row in rows]) for name in axes_names]
    quality = np.array([scales[-1][0](row[metric]) for row in rows])
    quality = quality if higher_is_better else 1 - quality
    for at in np.argsort(quality):  # the best are drawn last, on top
        heights = [place(rows[at][name]) for (place, _), name in zip(scales, axes_names, strict=True)]
        told = ", ".join(f"{name} {setting_text(rows[at][name])}" for name in axes_names)
        width = 1.2 + 1.4 * quality[at]
        axes.plot(range(len(axes_names)), heights, color=SPREAD(quality[at]), linewidth=width, label=told)
    for number, (_, ticks) in enumerate(scales):
        axes.axvline(number, color=css(FRAME), linewidth=1)
        for height, text in ticks:
            axes.annotate(
                text,
                (number, height),
                (5, 0),
                textcoords="offset points",
                bbox={"facecolor": css(PAPER), "edgecolor": "none", "pad": 1},
                va="center",
                fontsize=7.5,
                color=css(QUIET_INK),
            )
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_yticks([])
    axes.set_xticks(range(len(axes_names)), axes_names)
    axes.tick_params(colors=css(INK), labelsize=9, length=0)
    axes.set_xlim(-0.1, len(axes_names) - 0.6)
    axes.set_ylim(-0.06, 1.06)
    return figure


def _scale(values: Sequence[Value]) -> tuple[Callable[[Value], float], list[tuple[float, str]]]:
    """(value -> height in 0..1, ticks)."""
    if all(map(is_number, values)):
        numbers = [float(value) for value in values]
        low, high = min(numbers), max(numbers)
        span = high - low or 1.0
        marks = sorted(set(numbers)) if len(set(numbers)) <= 6 else [low, (low + high) / 2, high]
        return (lambda value: (float(value) - low) / span), [((mark - low) / span, f"{mark:.4g}") for mark in marks]
    names = sorted(set(map(setting_text, values)))
    span = max(len(names) - 1, 1)
    return (lambda value: names.index(setting_text(value)) / span), [(at / span, name) for at, name in enumerate(names)]


def _sorted(values: set[Value]) -> list[Value]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))
