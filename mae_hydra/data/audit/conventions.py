"""Whether stored values can be what the configuration takes them for, and what else they may be.

A set read by the wrong convention trains without an error wherever its values fit both: with every class shifted by
one, with the unlabelled pixels as a class, or with nothing to learn at all.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from mae_hydra.data.audit.listing import Finding, Level
from mae_hydra.data.label_table import UNLABELLED, LabelTable, Reading, conventions, ranges, readings_of

ENOUGH = 50  # class maps after which what never occurred is no accident
FEW_ABSENT = 0.1  # share of classes that may be missing where the missing of one still means something
USUAL = 0.9  # share of class maps that hold what marks unlabelled pixels; hardly a class is in so many


class Seen(Protocol):
    """Class maps of one split that were looked at.

    `stored`: int64 (256,), pixels of each stored value. `mapped`: int64 (S,), rows of those that could be read.
    `whole`: they are all that the split has.
    """

    @property
    def stored(self) -> np.ndarray: ...

    @property
    def mapped(self) -> np.ndarray: ...

    @property
    def whole(self) -> bool: ...

    def holds(self, values: np.ndarray) -> np.ndarray:
        """bool (S,): whether a class map holds any of the stored values that `values`, bool (256,), marks."""
        ...

    def images_with(self) -> np.ndarray:
        """int64 (256,): how many class maps hold each stored value."""
        ...

    def labels_name(self, row: int) -> str: ...


def judged(seen: Sequence[Seen], reading: Reading, *, named: bool) -> tuple[list[Finding], Reading]:
    """Findings about `seen`, training and validation, and the reading by which single maps are to be judged.

    `named`: the data set names its classes, so that their number is no question.
    """
    if not _count(seen):
        return [], reading
    hopeless = _nothing_to_learn(seen, reading)
    if hopeless is not None:
        return [hopeless], reading
    one_class = _validation_of_one_class(seen, reading)
    if reading.reduce_zero_label is None:
        return one_class, reading
    findings, best = ([], reading) if reading.values is not None else _convention(seen, reading, named=named)
    if best == reading:
        findings += one_class
        if not named:
            findings += _far_too_many(seen, reading)
    return findings, best


def alternatives(seen: Sequence[Seen], reading: Reading) -> list[Reading]:
    """The other conventions by which so many classes may be stored as these values: those that fit most class maps."""
    if reading.reduce_zero_label is None or reading.values is not None or not _count(seen):
        return []
    values = present(seen)
    found: list[Reading] = []
    for other in reversed(conventions(reading.num_classes)):
        if all(other.differs_on(values, known) for known in (reading, *found)):
            found.insert(0, other)
    if not likely_ignored(seen, reading.num_classes):
        found.sort(key=_ignores_the_last)  # behind the others
    counts = [misfits(seen, other.table()) for other in found]
    return [other for other, count in zip(found, counts, strict=True) if count == min(counts)]


def in_two_codings(maps: Sequence[Collection[int]]) -> bool:
    """Whether some class maps hold 0 and 1, others 0 and 255, and none both: of one tool in bits, of another in bytes;
    so 255 may be what 1 is rather than ignored."""
    held = [sum(value in stored for stored in maps) for value in (1, 255)]
    there = {value for stored in maps for value in stored}
    return there == {0, 1, 255} and min(held) > 1 and not any(1 in stored and 255 in stored for stored in maps)


def _ignores_the_last(reading: Reading) -> bool:
    return not reading.reduce_zero_label and reading.ignore_index == reading.num_classes


def likely_ignored(seen: Sequence[Seen], top: int) -> bool:
    """Whether `top`, the number after the last class, may mark what is not labelled: it is nearly everywhere, beside a
    class 0. A class is in a part of the maps."""
    stored = present(seen)
    return bool(stored[0]) and _share_with(seen, top) > USUAL


def _share_with(seen: Sequence[Seen], value: int) -> float:
    return float(np.sum([each.images_with() for each in seen], axis=0)[value]) / _count(seen)


def present(seen: Sequence[Seen]) -> np.ndarray:
    """bool (256,): the values that are stored anywhere."""
    return np.sum([each.stored for each in seen], axis=0) > 0


def misfits(seen: Sequence[Seen], table: LabelTable) -> int:
    """How many class maps hold a value that `table` does not know."""
    return sum(int(each.holds(~table.accepted).sum()) for each in seen)


def looked_at(seen: Sequence[Seen]) -> str:
    """ "all 12 class maps", or "400 class maps looked at"."""
    count = _count(seen)
    noun = f"{count} class map{'' if count == 1 else 's'}"
    return (f"all {noun}" if count > 1 else "the one class map") if _whole(seen) else f"the {noun} looked at"


def choices(readings: Sequence[Reading], than: Reading | None = None) -> str:
    """What may be typed, as a way out: "set data.num_classes=2 data.reduce_zero_label=false"."""
    if len(readings) == 1:
        return f"set {readings[0].words(than)}"
    each = [f"{reading.words(than)} ({_means(reading)})" for reading in readings]
    return f"set {', '.join(each[:-1])} or {each[-1]}"


def _means(reading: Reading) -> str:
    if reading.values is not None:
        return "each value as listed"
    if reading.reduce_zero_label:
        return "0 is no class"
    if reading.ignore_index == UNLABELLED:
        return "0 is a class"
    return f"0 is a class, {reading.ignore_index} is none"


def _count(seen: Sequence[Seen]) -> int:
    return sum(len(each.mapped) for each in seen)


def _whole(seen: Sequence[Seen]) -> bool:
    return all(each.whole for each in seen)


def _nothing_to_learn(seen: Sequence[Seen], reading: Reading) -> Finding | None:
    """Every pixel ignored, or one class and nothing else; an error where enough was seen to be sure."""
    table, values = reading.table(), present(seen)
    if (values & ~table.accepted).any():
        return None  # values without a meaning are another question, and the first
    train, whole = seen[0], [each for each in seen if len(each.mapped)]
    subject = "the class maps hold"
    for each in whole:
        numbers = np.unique(table.class_of[(each.stored > 0) & table.counted])
        if each is train and len(numbers) == 1:
            outcome = f"makes of them one class and ignored pixels ({reading.convention()}), so nothing can be learned"
        elif not len(numbers):
            outcome = f"ignores them all ({reading.convention()})"
        else:
            continue
        if len(whole) > 1 and each is not train:
            subject = "the class maps of validation hold"
        held = np.flatnonzero(each.stored > 0)
        # Of a part of the maps one value alone may be chance: a rare class, or few maps that are labelled at all.
        sure = each.whole or (len(each.mapped) >= ENOUGH and len(held) > 1)
        suggested = [other for other in readings_of(values) if other != reading]
        way = choices(suggested) if suggested else "are these the class maps? look at some of them"
        if reading.reduce_zero_label is None:
            way = f"let the reader give classes from 0, and {reading.ignore_index} for what counts for nothing"
        count = f"{looked_at([each])}"
        sentence = f"{subject} {ranges(held)} only ({count}); the configuration {outcome}; {way}"
        return Finding("error" if sure else "warning", "nothing to learn", sentence)
    return None


def _validation_of_one_class(seen: Sequence[Seen], reading: Reading) -> list[Finding]:
    """Validation that measures one class where training has more: it may be coded in another way."""
    table = reading.table()
    train, *others = (np.unique(table.class_of[(each.stored > 0) & table.counted]) for each in seen)
    for each, classes in zip(seen[1:], others, strict=True):
        enough = each.whole or len(each.mapped) >= ENOUGH
        if len(classes) == 1 and len(train) > 1 and enough and not misfits([each], table):
            sentence = (
                f"the class maps of validation hold {ranges(np.flatnonzero(each.stored > 0))} only "
                f"({looked_at([each])}), which is class {classes[0]} and nothing else ({reading.convention()}), while "
                f"training has {len(train)} classes; nothing is measured of the others: are both coded alike?"
            )
            return [Finding("warning", "validation of one class", sentence)]
    return []


def _convention(seen: Sequence[Seen], reading: Reading, *, named: bool) -> tuple[list[Finding], Reading]:
    """The zero-label question: what the values say for and against each way of storing so many classes."""
    fitting, total = alternatives(seen, reading), _count(seen)
    if not fitting:
        return [], reading
    wrong, least = (misfits(seen, each.table()) for each in (reading, fitting[0]))
    stored = present(seen)
    values = f"stored are {ranges(np.flatnonzero(stored))}"
    now = reading.convention()
    if wrong > least:
        ways = choices(fitting, reading)
        more = reading.num_classes + 1
        if not named and stored[reading.num_classes] and Reading(more, UNLABELLED, False).fits():
            ways += f", or data.num_classes={more} where {reading.num_classes} is a class"
        reason = f"{wrong} of {total} class maps fit {' or '.join(other.convention() for other in fitting)} only"
        sentence = f"{now} is configured, but {reason} ({values} for {reading.num_classes} classes); {ways}"
        return [Finding("error", "zero label", sentence)], fitting[0]
    if wrong < least:
        return [Finding("note", "zero label confirmed", f"the class maps confirm {now} ({values})")], reading
    return [_open(seen, reading, fitting, values)], reading


def _open(seen: Sequence[Seen], reading: Reading, as_well: Sequence[Reading], values: str) -> Finding:
    """Several conventions fit: what speaks against the configured one, if anything does."""
    stored, top, now = present(seen), reading.num_classes, reading.convention()
    plain = next((o for o in as_well if not o.reduce_zero_label and not _ignores_the_last(o)), None)
    # The highest stored class decides, which only one of two readings has.
    middle = stored[1:top].mean() if top > 1 else 0.0
    if reading.reduce_zero_label and plain and not stored[top] and stored[0] and middle >= 1 - FEW_ABSENT:
        strong = bool(stored[UNLABELLED])
        because = f"{top} never occurs, though {int(stored[1:top].sum())} of 1 to {top - 1} do"
        because += f" and {UNLABELLED} marks pixels as ignored" if strong else ""
        sentence = f"{now} is configured, but {because}: the maps look like {plain.convention()}, every class would be"
        level: Level = "error" if strong else "warning"
        return Finding(
            level, "zero label", f"{sentence} off by one; compare the picture sheet, then {choices([plain], reading)}"
        )
    others = " and ".join(other.convention() for other in as_well)
    sentence = f"the class maps fit {now}, which is configured, and {others} as well ({values})"
    last = next(filter(_ignores_the_last, as_well), None)
    if reading.reduce_zero_label and last and likely_ignored(seen, top):
        sentence += (
            f": {_share_with(seen, top):.0%} of them hold {top}, as they would hold what is not labeled; the picture "
            f"sheet of check-data shows which is right, then keep it or {choices([last], reading)}"
        )
        return Finding("warning", "zero label open", sentence)
    return Finding("note", "zero label open", f"{sentence}; the picture sheet of check-data shows which is right")


def _far_too_many(seen: Sequence[Seen], reading: Reading) -> list[Finding]:
    table = reading.table()
    numbers = table.class_of[present(seen) & table.counted]
    highest = int(numbers.max()) + 1 if len(numbers) else 0
    sure = _whole(seen) or _count(seen) >= ENOUGH
    if not sure or highest < 2 or 2 * highest > reading.num_classes:
        return []
    sentence = (
        f"{reading.num_classes} classes are configured, and {looked_at(seen)} hold none above the first {highest} "
        f"(stored are {ranges(np.flatnonzero(present(seen)))}); set data.num_classes={highest} if there are no more"
    )
    return [Finding("warning", "number of classes", sentence)]
