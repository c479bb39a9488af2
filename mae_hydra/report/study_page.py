"""The page of a study: scores over labeled images, how many labels each start saves, and every job."""

import csv
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.experiment.many.label_study import PRETRAIN, SCRATCH, TABLES, Factor, Study, rows_of, swept_of
from mae_hydra.experiment.read_runs import is_percent, read_sweep, state_of, values_of
from mae_hydra.experiment.status import write_json
from mae_hydra.figures import Arm, label_curves
from mae_hydra.report.page import Link, Page, code, duration, in_percent, link_of, sentence, table

NAMES = {SCRATCH: "from scratch", "mae": "own MAE"}
HEAD = ("start", "labels", "labeled images", "score", "seeds", "label factor")
RULE = (
    "The label factor says how many times more labels training from scratch needs for the same score: read off its "
    "curve, between whose points the score is linear in the logarithm of the images. Beyond the ends of that curve "
    "nothing is said but that it is more or less. In brackets the 95 % interval over seeds, by bootstrap: a seed draws "
    "labels, order and fresh layers; the pre-trained weights are the same in all."
)


def name_of(arm: str) -> str:
    return NAMES.get(arm, arm)


def headlines(study: Study) -> dict[str, str]:
    """The label factor of each arm where labels are fewest, and where it is greatest."""
    found = {}
    for arm, points in study.arms.items():
        factors = zip(points, study.factors(arm), strict=True)
        known = [(point, factor) for point, factor in factors if factor is not None]
        for point, factor in known and (known[0], max(known, key=lambda pair: pair[1].at_least)):
            found[f"label factor of {name_of(arm)} at {point.images:.0f} images"] = str(factor)
    return found


def cells(study: Study) -> list[list[str]]:
    """The table of a study, in the columns of `HEAD`."""
    rows = []
    means = [abs(point.mean) for points in study.arms.values() for point in points]
    digits = 1 if max(means, default=0) >= 10 else 3  # percent, or what has its first digits behind the point
    for arm, points in study.arms.items():
        for point, factor in zip(points, study.factors(arm), strict=True):
            spread = "" if point.deviation is None else f" ± {point.deviation:.{digits}f}"
            share, images = f"{100 * point.fraction:g} %", f"{point.images:.0f}"
            row = [name_of(arm), share, images, f"{point.mean:.{digits}f}{spread}", str(len(point.scores))]
            rows.append([*row, "" if factor is None else str(factor)])
    return rows


def study_page(page: Page, study: Study, directory: Path, place: Path, link: Link) -> None:
    """`place`: where the table goes, as results.json, results.csv and results.md; `link`: the address of a run."""
    if place == page.owned.folder:
        for name in TABLES:
            page.owned.claim(place / name)
    _write_tables(study, place)
    sweeps = {arm: read_sweep(directory / arm) for arm in study.record["arms"]}
    before = read_sweep(directory / PRETRAIN) if (directory / PRETRAIN).is_dir() else []
    done = sum(len(point.scores) for points in study.arms.values() for point in points)
    seeds = max((len(point.scores) for points in study.arms.values() for point in points), default=0)
    page.facts += [*headlines(study).items(), ("runs", f"{done} completed"), ("seeds", str(seeds))]
    page.facts.append(("judged by", study.metric))
    page.facts += [("took", duration(sum(run.total_seconds for runs in (before, *sweeps.values()) for run in runs)))]
    if study.arms:
        width = len(HEAD) - bool(study.doubt)  # a column without a factor says nothing
        page.add(
            "Labels and scores",
            sentence(study.doubt or study.caution),
            page.chart(figure_of(study), "labels", "" if study.doubt else RULE),
            table(_heads(study)[:width], [row[:width] for row in cells(study)]),
        )
    for arm, runs in sweeps.items():
        rows = [
            [
                link_of(f"{100 * share:g} %", link(run.directory)),
                seed,
                state_of(run),
                values_of(run).get(study.metric),
                duration(run.total_seconds),
            ]
            for run, (share, seed) in sorted(((run, swept_of(run)) for run in runs), key=lambda pair: pair[1])
        ]
        head = ("labels", "seed", "state", in_percent(study.metric, is_percent(study.metric)), "took")
        page.add(f"Jobs: {name_of(arm)}", table(head, rows))
    page.add("What is missing", *([code("\n".join(study.unfinished))] if study.unfinished else []))
    page.add("The command", *([code(str(study.record["command"]))] if study.record.get("command") else []))


def _heads(study: Study) -> list[str]:
    """`HEAD`, in which the score has its name and its unit."""
    return [in_percent(study.metric, is_percent(study.metric)) if name == "score" else name for name in HEAD]


def _write_tables(study: Study, place: Path) -> None:
    rows = rows_of(study)
    write_json(place / TABLES[0], rows)
    with atomic.writing(place / TABLES[1]) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row))
        writer.writeheader()
        writer.writerows(rows)
    lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 2), "---"), *cells(study)]
    atomic.write_text(place / TABLES[2], "".join(f"| {' | '.join(line)} |\n" for line in lines))


def figure_of(study: Study) -> Any:
    """Draw the curves, from scratch first, with the label factor at the fewest labels."""
    arms = []
    for arm, points in study.arms.items():
        factor = study.factors(arm)[0]
        reach = None if factor is None else (_end(factor, points[0].images), f"label factor {factor.told}")
        scores = [list(point.scores.values()) for point in points]
        arms.append(Arm(name_of(arm), [point.images for point in points], scores, reach))
    return label_curves(arms, metric=in_percent(study.metric, is_percent(study.metric)))


def _end(factor: Factor, images: float) -> float | None:
    return factor.value * images if 0 < factor.value < float("inf") else None
