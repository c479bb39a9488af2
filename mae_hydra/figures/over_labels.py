"""Scores over the number of labeled images, a curve for each way to start, and how far apart equal scores lie."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mae_hydra.figures.chart import dress, new_figure
from mae_hydra.figures.style import INK, colours_of, css


@dataclass(frozen=True)
class Arm:
    """A curve: labeled images, and all scores found with so many.

    `reach`: where the reference needs how many images for the score of the first point, (images, what that says);
    images None: it never gets there, or begins above.
    """

    name: str
    images: Sequence[float]
    scores: Sequence[Sequence[float]]
    reach: tuple[float | None, str] | None = None


def label_curves(arms: Sequence[Arm], *, metric: str) -> Figure:
    """Means with standard deviations as bars, every single score as a dot; images on a logarithmic axis."""
    figure = new_figure(7.2, 4.4)
    axes = figure.add_subplot()
    dress(axes, grid="y")
    axes.set_xscale("log")
    colours = colours_of(arm.name for arm in arms)
    for arm in arms:
        colour = colours[arm.name]
        means = [sum(each) / len(each) for each in arm.scores]
        _draw(axes, arm, means, colour)
        if arm.reach is not None:
            _bridge(axes, arm.images[0], means, *arm.reach, colour)
    ticks = sorted({round(count) for arm in arms for count in arm.images})
    apart = [each for place, each in enumerate(ticks) if place == 0 or each > 1.25 * ticks[place - 1]]
    axes.set_xticks(apart, [f"{each:,}" for each in apart])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("labeled images")
    axes.margins(x=0.06, y=0.14)
    axes.set_title(metric, loc="left", fontsize=10.5, fontweight="bold", color=css(INK), pad=10)
    axes.legend(frameon=False, fontsize=9, labelcolor=css(INK))
    return figure


def _draw(axes: Axes, arm: Arm, means: Sequence[float], colour: str) -> None:
    spreads = [
        (sum((score - mean) ** 2 for score in each) / (len(each) - 1)) ** 0.5 if len(each) > 1 else 0.0
        for each, mean in zip(arm.scores, means, strict=True)
    ]
    for count, each in zip(arm.images, arm.scores, strict=True):
        if len(each) > 1:
            axes.plot([count] * len(each), each, "o", color=colour, alpha=0.3, markersize=3.5, mew=0)
    axes.errorbar(
        arm.images,
        means,
        yerr=spreads if any(spreads) else None,
        color=colour,
        linewidth=2,
        marker="o",
        markersize=5.5,
        elinewidth=1.4,
        capsize=3,
        label=arm.name,
    )


def _bridge(axes: Axes, begin: float, means: Sequence[float], end: float | None, text: str, colour: str) -> None:
    """The way along an equal score from an arm's first point to the reference, with what that is worth.

    The text ends where the way does, on the side to which the curves go: there is nothing else.
    """
    height, rises = means[0], means[-1] >= means[0]
    if end is None:
        at, shift, place = begin, (8, -7 if rises else 7), "left"
        rises = not rises  # beside the first point: on the side from which the curves come
    else:
        axes.plot([begin, end], [height, height], color=colour, linewidth=1, linestyle=(0, (3, 3)))
        at, shift, place = end, (-4, 2 if rises else -3), "right"
    side = "bottom" if rises else "top"
    axes.annotate(text, (at, height), shift, textcoords="offset points", ha=place, va=side, fontsize=8.5, color=colour)
