"""What the values stored in class maps say: which classes occur, and what is out of range in the reading that fits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_hydra.data.audit.conventions import Seen, choices, judged, present
from mae_hydra.data.audit.listing import Finding, Level, found
from mae_hydra.data.audit.tally import Tally
from mae_hydra.data.label_table import Reading, ranges, readings_of

MOST_IGNORED = 0.5  # share of all pixels from which on it is a warning


def label_findings(tallies: Sequence[Seen], reading: Reading, *, named: bool = False) -> list[Finding]:
    """What the values say about the configured reading, and values that are out of range in the one which fits best.

    `named`: the data set names its classes, so that their number is no question.
    """
    try:
        reading.table()
    except ValueError as error:
        return [Finding("error", "number of classes", str(error))]
    findings, best = judged(tallies, reading, named=named)
    return [*findings, *stray_findings(tallies, best)]


def stray_findings(tallies: Sequence[Seen], reading: Reading) -> list[Finding]:
    """Values that have no meaning; where most maps hold some, what the set may be instead."""
    accepted = reading.table().accepted
    those = [(tally, row) for tally in tallies for row in np.flatnonzero(tally.holds(~accepted)).tolist()]
    if not those:
        return []
    tally, row = those[0]
    strange = np.flatnonzero(present(tallies) & ~accepted)
    wrong = [value for value in strange.tolist() if tally.holds(np.arange(len(tally.stored)) == value)[row]]
    values = ", ".join(map(str, wrong[:5])) + (", …" if len(wrong) > 5 else "")
    says = f"with values that are neither one of {reading.num_classes} classes nor ignored"
    way, why = "correct the map or data.num_classes", f"holds {values}"
    asked = reading.reduce_zero_label is not None  # else a reader of somebody's own has given classes
    if (
        asked
        and 2 * len(those) > sum(len(each.mapped) for each in tallies)
        and (instead := readings_of(present(tallies)))
    ):
        way = f"stored are {ranges(np.flatnonzero(present(tallies)))}: {choices(instead)}"
    names = [tally.labels_name(row) for tally, row in those]
    return [found("error", "label out of range", names, says, way, noun="class map", why=why)]


def absence_findings(train: Tally, validation: Tally, reading: Reading, class_names: Sequence[str]) -> list[Finding]:
    """Classes that never occur, and pixels that count for nothing."""
    findings = []
    counts = [class_counts(tally, reading)["images"] for tally in (train, validation)]
    for (here, there), tally, consequence in (
        (counts, train, "they cannot be learned"),
        (counts[::-1], validation, "nothing is measured of them"),
    ):
        absent = np.flatnonzero(here == 0)
        if len(absent) and len(tally.mapped) + (tally.class_ids >= 0).sum():
            names = ", ".join(class_names[number] for number in absent[:6]) + (", …" if len(absent) > 6 else "")
            which = "training" if tally is train else "validation"
            level: Level = "warning" if (there[absent] > 0).any() and tally is train else "note"
            sentence = f"{len(absent)} of {len(here)} classes do not occur in {which} ({names}); {consequence}"
            findings.append(Finding(level, f"classes absent in {which}", sentence))
    files = [tally.labels_name(row) for tally in (train, validation) for row in _unlabelled(tally, reading).tolist()]
    if files:
        way, says = "label or leave out", "without a labeled pixel"
        findings.append(found("warning", "nothing labelled", files, says, way, noun="class map"))
    share = ignored_share(train, reading)
    if share is not None and share > MOST_IGNORED:
        sentence = f"{share:.0%} of the training pixels are ignored; check data.reduce_zero_label and the picture sheet"
        findings.append(Finding("warning", "ignored share", sentence))
    return findings


def class_counts(tally: Tally, reading: Reading) -> dict[str, np.ndarray]:
    """int64 (num_classes,) each: "pixels" of every class (absent without class maps), "images" that show it."""
    if not len(tally.mapped):
        ids = tally.class_ids[tally.class_ids >= 0]
        return {"images": np.bincount(ids, minlength=reading.num_classes)[: reading.num_classes]}
    table = reading.table()
    stored = np.flatnonzero(table.counted)
    images = tally.images_with()
    counts = {"pixels": np.zeros(reading.num_classes, np.int64), "images": np.zeros(reading.num_classes, np.int64)}
    for value in stored:
        counts["pixels"][table.class_of[value]] += tally.stored[value]
        counts["images"][table.class_of[value]] += images[value]
    return counts


def ignored_share(tally: Tally, reading: Reading) -> float | None:
    """Share of all pixels of class maps that no class claims; None without class maps."""
    total = int(tally.stored.sum())
    return 1 - int(class_counts(tally, reading)["pixels"].sum()) / total if total else None


def _unlabelled(tally: Tally, reading: Reading) -> np.ndarray:
    """Rows of the samples whose class map holds no class at all."""
    return np.flatnonzero(tally.present.any(1) & ~tally.holds(reading.table().counted))


def histogram(tallies: dict[str, Tally], reading: Reading, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each class: number, name, and pixels and images in every split."""
    counts = {split: class_counts(tally, reading) for split, tally in tallies.items()}
    return [
        {"class": number, "name": name}
        | {f"{split}_{what}": int(values[number]) for split, parts in counts.items() for what, values in parts.items()}
        for number, name in enumerate(class_names)
    ]
