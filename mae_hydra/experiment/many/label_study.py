"""How many labels a start saves: scores over the number of labeled images, read from the sweeps of a study.

A study is a folder of sweeps over `data.label_fraction` and `seed`, one for each way to start (an arm), whose names
stand in its `study.json`. The label factor of an arm is how many times more labels training from scratch needs for the
same score.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from mae_hydra.configuration.key_meaning import Decides, differences, told
from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import Run, read_sweep, state_of
from mae_hydra.recorded.tables import read_table, table_or_none

RECORD, PRETRAIN = "study.json", "pretrain"  # the second: where the own MAE is trained
TABLES = ("results.json", "results.csv", "results.md")  # beside it
SCRATCH = "scratch"
NAME = r"\w[\w.-]*"  # of an arm, which is a directory
SWEPT = ("seed", "data.label_fraction", "data.label_seed")
DRAWS, INTERVAL = 2000, 0.95  # of the bootstrap over seeds
Curve = Sequence[tuple[float, float]]  # (labeled images, score), by images


@dataclass(frozen=True)
class Point:
    """The complete runs of an arm with one share of the labels.

    `images`: how many that are, in the mean over seeds. `scores`: by seed.
    """

    fraction: float
    images: float
    scores: Mapping[int, float]

    @property
    def mean(self) -> float:
        return fmean(self.scores.values())

    @property
    def deviation(self) -> float | None:
        return stdev(self.scores.values()) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Factor:
    """Labels that scratch needs, over those of an arm, for the arm's score.

    Nothing is extrapolated: `value` is 0 where scratch's curve begins above the score, of which `least` can be told
    alone, and infinite where it ends below, of which `most` can be told. `low`, `high`: the interval over seeds, with
    the same meaning; None where there is one seed.
    """

    value: float
    least: float
    most: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self._end(self.low)}, {self._end(self.high)}]"
        return f"{self.told}{interval}"

    @property
    def told(self) -> str:
        """Without the interval."""
        if self.value == 0:
            return f"less than {_short(self.least)}"
        return f"more than {_short(self.most)}" if math.isinf(self.value) else _short(self.value)

    @property
    def at_least(self) -> float:
        """As much as is known to be saved."""
        return self.most if math.isinf(self.value) else self.value

    def _end(self, value: float) -> str:
        return (
            f"<{_short(self.least)}" if value == 0 else f">{_short(self.most)}" if math.isinf(value) else _short(value)
        )


def _short(value: float) -> str:
    """Two digits: more are not known from a few seeds."""
    return f"{float(f'{value:.2g}'):.10g}"


@dataclass(frozen=True)
class Study:
    """What a study has found so far. `arms`: points by share of the labels, of each arm that has some.

    `unfinished`: the jobs that are not complete, as "arm/job: state".
    """

    record: Mapping[str, Any]
    metric: str
    higher_is_better: bool
    arms: Mapping[str, Sequence[Point]]
    unfinished: Sequence[str]

    def factors(self, arm: str) -> list[Factor | None]:
        """The label factor at each point of an arm; None where scratch has no curve to read it off."""
        points, scratch = self.arms[arm], self.arms.get(SCRATCH, ())
        if arm == SCRATCH or len(scratch) < 2 or self.doubt:
            return [None] * len(points)
        return [label_factor(scratch, point, self._sign) for point in points]

    @property
    def doubt(self) -> str:
        """Why no label factor can be told, though scratch has a curve; empty where nothing speaks against it."""
        scratch = self.arms.get(SCRATCH, ())
        if len(scratch) < 2:
            return ""
        few, many = scratch[0], scratch[-1]
        rise, spread = self._sign * (many.mean - few.mean), max(few.deviation or 0.0, many.deviation or 0.0)
        if rise > spread:
            return ""
        than = "no better than" if rise <= 0 else f"within what seeds differ by ({spread:.2g}) of"
        return (
            f"there is no label factor: from scratch {many.images:.0f} labeled images give {many.mean:.3g}, {than} "
            f"the {few.mean:.3g} of {few.images:.0f}; runs of more steps (schedule.total) may make labels count"
        )

    @property
    def caution(self) -> str:
        """What a label factor leaves open; empty where several seeds tell its interval."""
        alone = all(len(point.scores) == 1 for points in self.arms.values() for point in points)
        return "of one seed nothing says how much is chance; --seeds 0,1,2 adds two" if alone and self.arms else ""

    @property
    def _sign(self) -> int:
        return 1 if self.higher_is_better else -1


def is_study(directory: Path) -> bool:
    return (directory / RECORD).is_file()


def read_study(directory: Path) -> Study:
    """The study in `directory`, at any time; UserError where its record is none."""
    record = read_table(directory / RECORD)
    arms = record.get("arms") if record else None
    if record is None or not arms or not all(re.fullmatch(NAME, arm) for arm in arms):
        raise UserError(f"{directory / RECORD} is not what a study writes; start the study again with its own command")
    found: dict[str, list[Point]] = {}
    monitors: dict[str, bool] = {}
    unfinished = []
    for arm in arms:
        if not (directory / arm).is_dir():
            unfinished.append(f"{arm}: not begun")
        by_share: dict[float, list[tuple[int, int, float]]] = {}
        complete = []
        for run in read_sweep(directory / arm):
            images = ((table_or_none(run.directory / "data.json") or {}).get("train") or {}).get("images")
            if state_of(run) != "completed" or run.value is None or not isinstance(images, int) or not run.config:
                unfinished.append(f"{arm}/{run.name}: {state_of(run)}")
                continue
            complete.append(run)
            monitors.setdefault(run.monitor, run.higher_is_better)
            share, seed = swept_of(run)
            by_share.setdefault(share, []).append((images, seed, run.value))
        _refuse_others(complete)
        if by_share:
            found[arm] = [_point(share, runs) for share, runs in sorted(by_share.items())]
    if len(monitors) > 1:
        raise UserError(f"the runs of {directory} are judged by {' and '.join(monitors)}, which do not compare")
    metric, higher = next(iter(monitors.items()), ("score", True))
    return Study(record, metric, higher, found, unfinished)


def swept_of(run: Run) -> tuple[float, int]:
    """The share of the labels, and the seed."""
    return float((run.config.get("data") or {}).get("label_fraction") or 1), int(run.config.get("seed") or 0)


def _refuse_others(runs: Sequence[Run]) -> None:
    """UserError where the complete runs of an arm differ in more than what is swept: their scores are of two things."""
    for run in runs[1:]:
        changed = differences(runs[0].config, run.config, Decides.WEIGHTS, Decides.SCORES)
        changed = {key: values for key, values in changed.items() if key not in SWEPT}
        if changed:
            raise UserError(
                f"{runs[0].directory} and {run.directory} are not of one study ({told(changed)}); move those away that "
                "are not meant, or start a study of its own with --out"
            )


def _point(share: float, runs: Sequence[tuple[int, int, float]]) -> Point:
    return Point(share, fmean(images for images, _, _ in runs), {seed: score for _, seed, score in sorted(runs)})


def labels_needed(curve: Curve, score: float) -> float:
    """At how many labeled images a curve first reaches `score`, linear in their logarithm between its points.

    0 where it begins above, infinite where it never gets there.
    """
    first = curve[0]
    if first[1] >= score:
        return first[0] if first[1] == score else 0.0
    for (left, low), (right, high) in pairwise(curve):
        if high >= score:
            return left * (right / left) ** ((score - low) / (high - low))
    return math.inf


def label_factor(scratch: Sequence[Point], point: Point, sign: int = 1) -> Factor:
    """How many times more labels scratch needs for the mean score of `point`; `sign` -1: a smaller score is better.

    The interval is a percentile bootstrap over seeds (Efron, 1979): the same draw of seeds for both arms, because a
    seed draws the same labeled images in both.
    """
    curve = [(each.images, sign * each.mean) for each in scratch]
    ends = curve[0][0] / point.images, curve[-1][0] / point.images
    value = labels_needed(curve, sign * point.mean) / point.images
    seeds = sorted(set(point.scores).intersection(*(each.scores for each in scratch)))
    if len(seeds) < 2:
        return Factor(value, *ends)
    drawn = np.sort(np.random.default_rng(0).choice(seeds, (DRAWS, len(seeds))), axis=1)
    draws, times = np.unique(drawn, axis=0, return_counts=True)  # of three seeds there are ten
    needed = []
    for draw in draws:
        *scores, wanted = (sign * fmean(each.scores[seed] for seed in draw) for each in (*scratch, point))
        needed.append(labels_needed(list(zip((each.images for each in scratch), scores, strict=True)), wanted))
    found = np.repeat(needed, times)
    # By order, not between neighbours: some are infinite.
    low = np.quantile(found, (1 - INTERVAL) / 2, method="lower") / point.images
    high = np.quantile(found, (1 + INTERVAL) / 2, method="higher") / point.images
    return Factor(value, *ends, float(low), float(high))


def rows_of(study: Study) -> list[dict[str, Any]]:
    """A row for each arm and share: what was found, and the label factor in words and as numbers."""
    rows = []
    for arm, points in study.arms.items():
        for point, factor in zip(points, study.factors(arm), strict=True):
            row = {"start": arm, "label_fraction": point.fraction, "labeled_images": point.images}
            row |= {"metric": study.metric, "mean": point.mean, "deviation": point.deviation}
            row |= {f"seed_{seed}": score for seed, score in point.scores.items()}
            told = dict.fromkeys(field.name for field in fields(Factor)) if factor is None else asdict(factor)
            rows.append(row | {"label_factor": factor and str(factor)} | {f"factor_{k}": v for k, v in told.items()})
    return rows
