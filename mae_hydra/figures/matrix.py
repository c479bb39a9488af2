"""A confusion matrix: of the pixels of each class, how many percent were taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from mae_hydra.figures.chart import new_figure
from mae_hydra.figures.style import FRAME, INK, PAPER, QUIET_INK, RAMP, css
from mae_hydra.names import shortened

LETTERS = 24  # of a class
NUMBERED = 24  # classes up to which every cell has its number
NAMED = 48  # and up to which every class has its name; beyond, every tenth row, and the largest confusions beside it
COLOURS = LinearSegmentedColormap.from_list("nothing to most", RAMP)


def confusion_matrix(
    confusions: np.ndarray, class_names: Sequence[str], *, title: str, largest: Sequence[str] = ()
) -> Figure:
    """`confusions` (C, C): row = label, column = prediction, in pixels. A class without pixels is a blank row.

    `largest`: lines about the largest confusions, for a matrix of too many classes to name them.
    """
    totals = confusions.sum(1, keepdims=True)
    percent = np.divide(100.0 * confusions, totals, out=np.full(confusions.shape, np.nan), where=totals > 0)
    count = len(class_names)
    class_names = [shortened(name, LETTERS) for name in class_names]
    side = 2.6 + (0.36 * count if count <= NUMBERED else 0.15 * count if count <= NAMED else 7.5)
    listed = largest if count > NAMED else ()
    figure = new_figure(side + (4.4 if listed else 0.9), side)
    if listed:
        axes, beside = figure.subplots(1, 2, width_ratios=(side, 3.5))
        beside.axis("off")
        text = "\n".join(["Most often taken for another:", "", *listed])
        beside.text(0, 1, text, va="top", fontsize=8.5, linespacing=1.6, color=css(INK))
    else:
        axes = figure.add_subplot()
    # A root, so that what is confused seldom is seen beside the diagonal.
    drawn = axes.imshow(percent, cmap=COLOURS, norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    if count <= NUMBERED:
        for row in range(count):
            for column in range(count):
                value = percent[row, column]
                if value >= 0.5:
                    colour = css(PAPER) if value > 25 else css(INK)
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7.5, color=colour)
    if count <= NAMED:
        size = 8.5 if count <= NUMBERED else 6.5
        axes.set_xticks(range(count), class_names, rotation=90, fontsize=size, color=css(INK))
        axes.set_yticks(range(count), class_names, fontsize=size, color=css(INK))
    else:
        every = range(0, count, 10)
        axes.set_xticks(every, [str(number) for number in every], fontsize=8, color=css(QUIET_INK))
        axes.set_yticks(every, [f"{number} {class_names[number]}" for number in every], fontsize=8, color=css(INK))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_color(css(FRAME))
    axes.set_xlabel("predicted", fontsize=9, color=css(QUIET_INK))
    axes.set_ylabel("labeled", fontsize=9, color=css(QUIET_INK))
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=css(INK), pad=12)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.6, ticks=[0, 1, 5, 10, 25, 50, 100])
    bar.ax.tick_params(labelsize=8, length=0, colors=css(QUIET_INK))
    bar.outline.set_visible(False)
    bar.set_label("% of the class's pixels", fontsize=8.5, color=css(QUIET_INK))
    return figure
