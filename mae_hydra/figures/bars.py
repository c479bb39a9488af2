"""Per-class bars: the IoU of each class, of one run or of several side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mae_hydra.figures.chart import dress, new_figure
from mae_hydra.figures.style import INK, QUIET_INK, colours_of, css
from mae_hydra.names import shortened

LETTERS = 32  # of a class
ROWS = 50  # classes below each other; more stand in further columns


def class_bars(runs: Mapping[str, Mapping[str, float | None]], *, title: str, x_label: str = "IoU, %") -> Figure:
    """Horizontal bars, one group per class: `runs` maps a run's name to its value per class, None where there is none.

    Classes are sorted by the first run, best on top, column by column; a missing value is written out as "absent", not
    drawn as 0.
    """
    first = next(iter(runs.values()))
    classes = list(dict.fromkeys(name for values in runs.values() for name in values))
    classes.sort(key=lambda name: _or_below_all(first.get(name)), reverse=True)
    columns = -(-len(classes) // ROWS)
    height = -(-len(classes) // columns)
    figure = new_figure(6.4 if columns == 1 else 4.2 * columns, 1.15 + height * (0.16 + 0.14 * len(runs)))
    longest = max((value for values in runs.values() for value in values.values() if value is not None), default=1.0)
    all_axes = figure.subplots(1, columns, squeeze=False)[0]
    for axes, start in zip(all_axes, range(0, len(classes), height), strict=True):
        _column(axes, classes[start : start + height], runs)
        axes.set_ylim(height - 0.4, -0.6)
        axes.set_xlim(0, (longest or 1.0) * (1.1 if columns == 1 else 1.18))  # room for the number behind the bar
        axes.set_xlabel(x_label)
    name_width = 0.9 + 0.075 * min(LETTERS, max(map(len, runs)))  # of the legend, in inches
    side_by_side = max(1, int(figure.get_figwidth() / name_width))
    legend_rows = -(-len(runs) // side_by_side) if len(runs) > 1 else 0
    all_axes[0].set_title(title, loc="left", fontsize=12, fontweight="bold", color=css(INK), pad=12 + 18 * legend_rows)
    if legend_rows:
        # Above the axes: inside, long bars would run through it.
        all_axes[0].legend(
            frameon=False,
            fontsize=9,
            ncols=side_by_side,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            borderpad=0.2,
            labelcolor=css(INK),
        )
    return figure


def _column(axes: Axes, classes: Sequence[str], runs: Mapping[str, Mapping[str, float | None]]) -> None:
    """The bars of `classes`, from the top."""
    dress(axes, grid="x")
    thickness = 0.8 / len(runs)
    places = np.arange(len(classes))
    for index, ((run, values), colour) in enumerate(zip(runs.items(), colours_of(runs).values(), strict=True)):
        heights = [values.get(name) for name in classes]
        at = places + (index - (len(runs) - 1) / 2) * thickness
        label = shortened(run, LETTERS)
        axes.barh(at, [value or 0.0 for value in heights], thickness * 0.86, color=colour, label=label)
        for place, value in zip(at, heights, strict=True):
            text = "absent" if value is None else f"{value:.1f}"
            axes.annotate(
                text,
                (value or 0.0, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
                color=css(QUIET_INK),
            )
    axes.set_yticks(places, [shortened(name, LETTERS) for name in classes], color=css(INK))


def _or_below_all(value: float | None) -> float:
    return -1.0 if value is None else value
