"""Per-class bars: the IoU of each class, of one run or of several side by side."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mae_hydra.figures.style import INK, QUIET_INK, SERIES_COLOURS, css, dress, new_figure


def class_bars(runs: Mapping[str, Mapping[str, float | None]], *, title: str, x_label: str = "IoU, %") -> Figure:
    """Horizontal bars, one group per class: `runs` maps a run's name to its value per class, None where there is none.

    Classes are sorted by the first run, best on top; a missing value is written out as "absent", not drawn as 0.
    """
    first = next(iter(runs.values()))
    classes = list(dict.fromkeys(name for values in runs.values() for name in values))
    classes.sort(key=lambda name: _or_below_all(first.get(name)), reverse=True)
    thickness = 0.8 / len(runs)
    figure = new_figure(6.4, 1.15 + len(classes) * (0.16 + 0.14 * len(runs)))
    axes = figure.add_subplot()
    dress(axes, grid="x")
    places = np.arange(len(classes))
    for index, (run, values) in enumerate(runs.items()):
        heights = [values.get(name) for name in classes]
        at = places + (index - (len(runs) - 1) / 2) * thickness
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        axes.barh(at, [value or 0.0 for value in heights], thickness * 0.86, color=colour, label=run)
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
    axes.set_yticks(places, classes, color=css(INK))
    axes.set_ylim(len(classes) - 0.4, -0.6)
    longest = max((value for values in runs.values() for value in values.values() if value is not None), default=1.0)
    axes.set_xlim(0, (longest or 1.0) * 1.1)  # room for the number behind the longest bar
    axes.set_xlabel(x_label)
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=css(INK), pad=30 if len(runs) > 1 else 12)
    if len(runs) > 1:
        # Above the axes: inside, long bars would run through it.
        axes.legend(
            frameon=False,
            fontsize=9,
            ncols=len(runs),
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            borderpad=0.2,
            labelcolor=css(INK),
        )
    return figure


def _or_below_all(value: float | None) -> float:
    return -1.0 if value is None else value
