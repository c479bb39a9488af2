"""What the values stored in class maps say: which classes occur, what is out of range, and which reading they support.

Stored 0 is either "other" and ignored (`reduce_zero_label`, ADE20K's convention) or the first class. Reading a set the
wrong way trains without an error where the values fit both, with every class shifted by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mae_hydra.data.ade20k import UNLABELLED, LabelTable
from mae_hydra.data.audit_listing import Finding, Level, found
from mae_hydra.data.audit_tally import Tally

MOST_IGNORED = 0.5  # share of all pixels from which on it is a warning
FEW_ABSENT = 0.1  # share of classes that may be missing where the missing of one still means something


@dataclass(frozen=True)
class Reading:
    """How stored values are to be understood. `reduce_zero_label` None: they are classes already."""

    num_classes: int
    ignore_index: int
    reduce_zero_label: bool | None

    def table(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(accepted bool (256,), class uint8 (256,)); None where so many classes cannot be stored that way."""
        try:
            table = LabelTable(
                num_classes=self.num_classes,
                ignore_index=self.ignore_index,
                reduce_zero_label=bool(self.reduce_zero_label),
            )
        except ValueError:
            return None
        return table.accepted, table.class_of

    def other(self) -> "Reading | None":
        if self.reduce_zero_label is None:
            return None
        ignored = UNLABELLED if self.reduce_zero_label else self.ignore_index
        return Reading(self.num_classes, ignored, not self.reduce_zero_label)


def label_findings(tallies: Sequence[Tally], reading: Reading) -> list[Finding]:
    """The zero-label question, and values that are out of range in the reading which fits best."""
    table = reading.table()
    if table is None:
        limit = "data.num_classes does not fit class maps of 8 bits; 254 at most with data.reduce_zero_label=true"
        return [Finding("error", "number of classes", f"{limit}, got {reading.num_classes}")]
    findings, accepted = _zero_label(tallies, reading, table[0])
    those = [(tally, row) for tally in tallies for row in np.flatnonzero(tally.holds(~accepted)).tolist()]
    if those:
        tally, row = those[0]
        wrong = np.flatnonzero(np.unpackbits(tally.present[row]) & ~accepted)
        values = ", ".join(map(str, wrong[:5])) + (", …" if len(wrong) > 5 else "")
        says = f"with values that are neither one of {reading.num_classes} classes nor ignored"
        way, why = "correct the map or data.num_classes", f"holds {values}"
        names = [tally.labels_name(row) for tally, row in those]
        findings.append(found("error", "label out of range", names, says, way, noun="class map", why=why))
    return findings


def _zero_label(tallies: Sequence[Tally], reading: Reading, accepted: np.ndarray) -> tuple[list[Finding], np.ndarray]:
    """Findings, and the accepted values of the reading by which maps are to be judged."""
    other = reading.other()
    other_table = other.table() if other else None
    if other is None or other_table is None or not sum(len(tally.mapped) for tally in tallies):
        return [], accepted
    misfits, other_misfits = (
        sum(int(tally.holds(~values).sum()) for tally in tallies) for values in (accepted, other_table[0])
    )
    present = np.sum([tally.stored for tally in tallies], axis=0) > 0
    now, then = _key(reading), _key(other)
    values = f"stored are {_ranges(np.flatnonzero(present))}"
    if misfits > other_misfits:
        total = sum(len(tally.mapped) for tally in tallies)
        reason = f"{misfits} of {total} class maps fit {then} only"
        sentence = f"{now} is configured, but {reason} ({values} for {reading.num_classes} classes); set {then}"
        return [Finding("error", "zero label", sentence)], other_table[0]
    if other_misfits > misfits:
        return [Finding("note", "zero label confirmed", f"the class maps confirm {now} ({values})")], accepted
    # Both fit: the highest stored class decides, which only one reading has.
    top = reading.num_classes
    middle = present[1:top].mean() if top > 1 else 0.0
    if reading.reduce_zero_label and not present[top] and present[0] and middle >= 1 - FEW_ABSENT:
        strong = bool(present[UNLABELLED])
        because = f"{top} never occurs, though {int(present[1:top].sum())} of 1 to {top - 1} do"
        because += f" and {UNLABELLED} marks pixels as ignored" if strong else ""
        sentence = f"{now} is configured, but {because}: the maps look like {then}, every class would be off by one"
        level: Level = "error" if strong else "warning"
        return [Finding(level, "zero label", f"{sentence}; compare the picture sheet, then set {then}")], accepted
    sentence = f"the class maps fit {now}, which is configured, and {then} as well ({values})"
    return [Finding("note", "zero label open", f"{sentence}; the picture sheet shows which is right")], accepted


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
        way, says = "label or leave out", "without a labelled pixel"
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
    assert table is not None
    stored = np.flatnonzero(table[0] & (table[1] < reading.num_classes))
    images = tally.images_with()
    counts = {"pixels": np.zeros(reading.num_classes, np.int64), "images": np.zeros(reading.num_classes, np.int64)}
    for value in stored:
        counts["pixels"][table[1][value]] += tally.stored[value]
        counts["images"][table[1][value]] += images[value]
    return counts


def ignored_share(tally: Tally, reading: Reading) -> float | None:
    """Share of all pixels of class maps that no class claims; None without class maps."""
    total = int(tally.stored.sum())
    return 1 - int(class_counts(tally, reading)["pixels"].sum()) / total if total else None


def _unlabelled(tally: Tally, reading: Reading) -> np.ndarray:
    """Rows of the samples whose class map holds no class at all."""
    table = reading.table()
    assert table is not None
    classes = table[0] & (table[1] < reading.num_classes)
    return np.flatnonzero(tally.present.any(1) & ~tally.holds(classes))


def histogram(tallies: dict[str, Tally], reading: Reading, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each class: number, name, and pixels and images in every split."""
    counts = {split: class_counts(tally, reading) for split, tally in tallies.items()}
    return [
        {"class": number, "name": name}
        | {f"{split}_{what}": int(values[number]) for split, parts in counts.items() for what, values in parts.items()}
        for number, name in enumerate(class_names)
    ]


def _key(reading: Reading) -> str:
    return f"data.reduce_zero_label={str(reading.reduce_zero_label).lower()}"


def _ranges(values: np.ndarray) -> str:
    """ "0 to 12 and 255"."""
    runs: list[list[int]] = []
    for value in values.tolist():
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    texts = [str(low) if low == high else f"{low} to {high}" for low, high in runs]
    shown = texts if len(texts) <= 4 else [*texts[:3], "…", texts[-1]]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
