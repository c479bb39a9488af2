"""A search in one figure: how its best grew, what each parameter was worth, and every trial against each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mae_hydra.figures.chart import dress, is_number, new_figure, setting_text
from mae_hydra.figures.style import INK, QUIET_INK, SERIES_COLOURS, css
from mae_hydra.names import shortened

FEWEST = 6  # trials from which on a quadratic says anything
COLOURS = {"complete": SERIES_COLOURS[0], "pruned": SERIES_COLOURS[1], "failed": SERIES_COLOURS[7]}


@dataclass(frozen=True)
class TrialPoint:
    """One trial of a search. `state`: complete, pruned (then `value` is the last one it had), failed (without one)."""

    number: int
    params: Mapping[str, Any]
    state: str
    value: float | None


def importances(trials: Sequence[TrialPoint], logarithmic: Sequence[str] = ()) -> dict[str, float]:
    """The share of the spread of the values that each parameter explains by itself, 0 to 1, the largest first.

    The adjusted R² of a quadratic in the parameter (in its logarithm where it was searched so), of a choice that of the
    means of its options; of the values their ranks count, so that one diverged trial does not decide. Interactions are
    not seen. Empty of fewer than FEWEST complete trials.
    """
    done = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    if len(done) < FEWEST:
        return {}
    ranks = _ranks([trial.value for trial in done])
    keys = dict.fromkeys(key for trial in done for key in trial.params)
    found = {key: _explained([trial.params.get(key) for trial in done], ranks, key in logarithmic) for key in keys}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _ranks(values: Sequence[Any]) -> np.ndarray:
    """Ranks from 0; equal values have the mean of theirs."""
    numbers = np.asarray(values, dtype=float)
    return (numbers[:, None] > numbers).sum(1) + 0.5 * ((numbers[:, None] == numbers).sum(1) - 1)


def _explained(settings: Sequence[Any], ranks: np.ndarray, logarithmic: bool) -> float:
    if all(map(is_number, settings)):
        places = np.asarray(settings, dtype=float)
        places = np.log(places) if logarithmic and places.min() > 0 else places
        spread = places.std()
        places = (places - places.mean()) / spread if spread > 0 else np.zeros_like(places)
        columns = np.stack([places, places**2], axis=1)
    else:
        names = sorted({str(value) for value in settings})
        columns = np.array([[str(value) == name for name in names[1:]] for value in settings], dtype=float)
    design = np.column_stack([np.ones(len(ranks)), columns])
    freedom, total = np.linalg.matrix_rank(design) - 1, ((ranks - ranks.mean()) ** 2).sum()
    if freedom < 1 or total == 0 or len(ranks) - freedom - 1 < 1:
        return 0.0
    fitted = design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    left = ((ranks - fitted) ** 2).sum() / total
    return float(np.clip(1 - left * (len(ranks) - 1) / (len(ranks) - freedom - 1), 0, 1))


def search_figure(
    trials: Sequence[TrialPoint], *, metric: str, higher_is_better: bool, logarithmic: Sequence[str] = ()
) -> Figure:
    """History, importance (where there are trials enough for it), and a slice for each parameter."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    worth = importances(trials, logarithmic)
    columns = 2
    panels = 1 + bool(worth) + len(keys)
    rows = -(-panels // columns)
    figure = new_figure(5.0 * columns, 3.3 * rows)
    places = iter(range(1, panels + 1))
    _history(figure.add_subplot(rows, columns, next(places)), trials, metric, higher_is_better)
    if worth:
        _bars(figure.add_subplot(rows, columns, next(places)), worth)
    best = _best_so_far(trials, higher_is_better)
    for key in keys:
        _slice(figure.add_subplot(rows, columns, next(places)), trials, key, metric, key in logarithmic, best)
    return figure


def _best_so_far(trials: Sequence[TrialPoint], higher: bool) -> list[tuple[int, float]]:
    """(number, value) of every trial that was better than all before it."""
    found: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state == "complete" and trial.value is not None:
            better = not found or (trial.value > found[-1][1] if higher else trial.value < found[-1][1])
            found += [(trial.number, trial.value)] if better else []
    return found


def _history(axes: Axes, trials: Sequence[TrialPoint], metric: str, higher: bool) -> None:
    dress(axes, grid="y")
    for state, colour in COLOURS.items():
        chosen = [trial for trial in trials if trial.state == state and trial.value is not None]
        if chosen:
            marker = "x" if state == "pruned" else "o"
            axes.plot(*_points(chosen), marker, color=colour, markersize=5, label=state)
    failed = [trial.number for trial in trials if trial.value is None]
    if failed:
        floor = axes.get_xaxis_transform()
        axes.plot(failed, [0.02] * len(failed), "|", color=COLOURS["failed"], transform=floor, label="failed")
    best = _best_so_far(trials, higher)
    if best:
        last = max(trial.number for trial in trials)
        numbers, values = zip(*best, strict=True)
        axes.step([*numbers, last], [*values, values[-1]], where="post", color=css(INK), linewidth=1.4, label="best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.margins(x=0.05, y=0.12)
    # Above the axes: inside, trials would lie under it.
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.02, 1.0), "ncols": 4, "borderpad": 0.2}
    axes.legend(frameon=False, fontsize=8.5, labelcolor=css(INK), columnspacing=1.0, handletextpad=0.3, **place)
    _title(axes, metric)


def _points(trials: Sequence[TrialPoint]) -> tuple[list[int], list[Any]]:
    return [trial.number for trial in trials], [trial.value for trial in trials]


def _bars(axes: Axes, worth: Mapping[str, float]) -> None:
    dress(axes, grid="x")
    places = np.arange(len(worth))
    axes.barh(places, list(worth.values()), 0.6, color=SERIES_COLOURS[0])
    for place, value in zip(places, worth.values(), strict=True):
        axes.annotate(
            f"{value:.0%}", (value, place), (4, 0), textcoords="offset points", va="center",
            fontsize=8.5, color=css(QUIET_INK),
        )  # fmt: skip
    axes.set_yticks(places, [shortened(key, 28) for key in worth], color=css(INK))
    axes.set_ylim(len(worth) - 0.4, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xlabel("of the spread of the values, explained by it alone")
    _title(axes, "importance")


def _slice(
    axes: Axes,
    trials: Sequence[TrialPoint],
    key: str,
    metric: str,
    logarithmic: bool,
    best: list[tuple[int, float]],
) -> None:
    """Every trial at its value of one parameter; the later, the darker."""
    dress(axes, grid="y")
    there = [trial for trial in trials if key in trial.params and trial.value is not None]
    settings = [trial.params[key] for trial in there]
    numeric = all(map(is_number, settings))
    names = sorted(set(map(setting_text, settings)))
    at = [float(setting) if numeric else float(names.index(setting_text(setting))) for setting in settings]
    last = max((trial.number for trial in there), default=0) or 1
    for place, trial in zip(at, there, strict=True):
        value = [np.nan if trial.value is None else trial.value]
        marker = "x" if trial.state == "pruned" else "o"
        shade = 0.35 + 0.65 * trial.number / last
        axes.plot([place], value, marker, color=COLOURS[trial.state], alpha=shade, markersize=5)
        if best and trial.number == best[-1][0]:
            axes.plot([place], value, "o", markersize=11, mfc="none", mec=css(INK), mew=1.4)
    if not numeric:
        axes.set_xticks(range(len(names)), [shortened(name, 20) for name in names])
        axes.margins(x=0.15)
    elif logarithmic and at and min(at) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if max(at) < 1e4 * min(at) else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.12)
    axes.set_xlabel(key)
    _title(axes, metric)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, fontweight="bold", color=css(INK), pad=10)
