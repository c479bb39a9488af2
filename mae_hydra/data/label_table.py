"""What the numbers stored in class maps mean: which class, or that a pixel counts for nothing.

Shape letters: C classes, H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mae_hydra.errors import UserError

UNLABELLED = 255  # in stored maps, besides 0 under reduce_zero_label
IGNORE = "ignore"  # in `values`, in place of a class number
Values = Mapping[int, int | str]
FEW_VALUES = 8  # that one would type one by one
MOST_WIDE = 2**16 - 1  # classes, and the number of what is ignored
MOST_CLASSES = 254  # with 0 and 255 ignored; one more where 0 is a class


class LabelTable:
    """From stored values of a map to classes 0..C-1 and `ignore_index`.

    With `reduce_zero_label`, ADE20K's convention: 0 is "other" and ignored, class k is stored as k + 1, 255 is ignored.
    Without it, class k is stored as k, and `ignore_index` as itself; where that is a class number, the class counts for
    nothing. `values` says all of it instead: stored value -> class number, or "ignore". `ignore_values`: further stored
    values that count for nothing, whatever else is said of them.

    `accepted`, bool (V,): the values that mean something; `class_of`, uint8 or uint16 (V,): what they mean. V is 256,
    or more where there are more than 255 classes, whose maps are read as classes already (`wide`).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        ignore_index: int,
        reduce_zero_label: bool,
        values: Values | None = None,
        ignore_values: Sequence[int] = (),
        wide: bool = False,
    ) -> None:
        most = MOST_CLASSES if reduce_zero_label and values is None else MOST_CLASSES + 1
        most = MOST_WIDE if wide else most
        if not 1 <= num_classes <= most:
            raise ValueError(f"data.num_classes must lie in 1..{most} for class maps of 8 bits, got {num_classes}")
        if not 0 <= ignore_index <= (MOST_WIDE if wide else 255):
            raise ValueError(f"data.ignore_index must lie in 0..255 for class maps of 8 bits, got {ignore_index}")
        if values is not None:
            meaning = _checked(values, num_classes)
        elif reduce_zero_label:
            meaning = {0: IGNORE, UNLABELLED: IGNORE} | {number + 1: number for number in range(num_classes)}
        else:
            meaning = {ignore_index: IGNORE} | {number: number for number in range(num_classes)}
        if any(not 0 <= value <= 255 for value in ignore_values):
            raise ValueError(f"data.ignore_values must lie in 0..255, got {list(ignore_values)}")
        meaning |= dict.fromkeys(ignore_values, IGNORE)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        size = max(256, num_classes, ignore_index + 1)
        self.accepted = np.zeros(size, dtype=bool)
        self.class_of = np.full(size, ignore_index, dtype=np.uint8 if size == 256 else np.uint16)
        for stored, number in meaning.items():
            self.accepted[stored] = True
            self.class_of[stored] = ignore_index if number == IGNORE else number

    @property
    def counted(self) -> np.ndarray:
        """bool (V,): the stored values whose pixels count."""
        return self.accepted & (self.class_of != self.ignore_index)

    def classes(self, stored: np.ndarray, path: Path) -> np.ndarray:
        """Stored values (H, W) as classes uint8 or uint16 (H, W); UserError naming `path` where one has no meaning."""
        known = self.accepted[np.minimum(stored, len(self.accepted) - 1)] & (stored < len(self.accepted))
        if not known.all():
            wrong = stored[~known]
            ignored = np.flatnonzero(self.accepted & (self.class_of == self.ignore_index))
            text = f"{ranges(np.flatnonzero(self.counted))} (classes)" + (
                f" and {ranges(ignored)} (ignored)" if len(ignored) else ""
            )
            raise UserError(
                f"the class map {path} holds the value {int(wrong[0])}, {len(wrong)} pixels are out of range; "
                f"accepted are {text}: correct the map, or data.num_classes, data.reduce_zero_label, data.values"
            )
        return self.class_of[stored]

    def stored(self) -> np.ndarray:
        """uint8 or uint16 (C,): the value by which each class is stored, the smallest of several.

        ValueError where a class has none.
        """
        found = np.full(self.num_classes, -1)
        for value in np.flatnonzero(self.counted)[::-1]:
            found[self.class_of[value]] = value
        if self.ignore_index < self.num_classes:  # never labelled, so it is stored as whatever is ignored
            found[self.ignore_index] = next(iter(np.flatnonzero(self.accepted & ~self.counted)), -1)
        if (found < 0).any():
            raise ValueError(f"no stored value means class {int(np.flatnonzero(found < 0)[0])}")
        return found.astype(self.class_of.dtype)


def _checked(values: Values, num_classes: int) -> dict[int, int | str]:
    """`data.values` with numbers for keys; ValueError where it does not map 8-bit values to classes."""
    form = f"data.values must map stored values 0..255 to classes 0..{num_classes - 1} or to {IGNORE}"
    meaning: dict[int, int | str] = {}
    for key, number in values.items():
        try:
            stored = int(key)
        except (TypeError, ValueError):
            raise ValueError(f"{form}, got the value {key!r}") from None
        is_class = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < num_classes
        if not 0 <= stored <= 255 or not (number == IGNORE or is_class):
            raise ValueError(f"{form}, got {key}: {number}")
        meaning[stored] = number
    if not any(number != IGNORE for number in meaning.values()):
        raise ValueError(f"{form}, and names no class")
    return meaning


@dataclass(frozen=True)
class Reading:
    """How stored values are to be understood. `reduce_zero_label` None: they are classes already."""

    num_classes: int
    ignore_index: int
    reduce_zero_label: bool | None
    values: Values | None = None
    ignore_values: tuple[int, ...] = ()

    def table(self) -> LabelTable:
        """ValueError where so many classes cannot be stored that way."""
        return LabelTable(
            num_classes=self.num_classes,
            ignore_index=self.ignore_index,
            reduce_zero_label=bool(self.reduce_zero_label),
            values=self.values,
            ignore_values=self.ignore_values,
            wide=self.reduce_zero_label is None and self.values is None,
        )

    def fits(self) -> bool:
        """Whether there is a table for it."""
        try:
            self.table()
        except ValueError:
            return False
        return True

    def differs_on(self, values: np.ndarray, other: "Reading") -> bool:
        """Whether one of `values`, bool (V,), means another class than in `other`; what the ignored ones become is no
        difference."""
        here, there = self.table(), other.table()
        one, other_one = (np.where(table.counted, table.class_of, -1) for table in (here, there))
        return bool(((here.accepted != there.accepted) | (one != other_one))[values].any())

    def words(self, than: "Reading | None" = None) -> str:
        """What to type for it: "data.num_classes=2 data.reduce_zero_label=false"; `than`: what need not be said."""
        than = than or Reading(-1, UNLABELLED, None)
        parts = []
        if self.num_classes != than.num_classes:
            parts.append(f"data.num_classes={self.num_classes}")
        if self.values is not None:
            inner = ",".join(f"{stored}:{number}" for stored, number in self.values.items())
            return " ".join([*parts, f"'data.values={{{inner}}}'"])
        if self.reduce_zero_label != than.reduce_zero_label:
            parts.append(f"data.reduce_zero_label={str(bool(self.reduce_zero_label)).lower()}")
        if self.ignore_index != than.ignore_index:
            parts.append(f"data.ignore_index={self.ignore_index}")
        if self.ignore_values != than.ignore_values:
            parts.append(f"'data.ignore_values={list(self.ignore_values)}'")
        return " ".join(parts) or self.convention()

    def convention(self) -> str:
        """The words by which one reading of so many classes differs from another."""
        if self.values is not None:
            return "data.values"
        if self.reduce_zero_label is None:
            return f"data.ignore_index={self.ignore_index}"
        text = f"data.reduce_zero_label={str(bool(self.reduce_zero_label)).lower()}"
        other = not self.reduce_zero_label and self.ignore_index != UNLABELLED
        text += f" data.ignore_index={self.ignore_index}" if other else ""
        return text + (f" data.ignore_values={list(self.ignore_values)}" if self.ignore_values else "")


def conventions(num_classes: int) -> list[Reading]:
    """The ways in which so many classes are stored: the number after the last class ignored (CamVid); 255 ignored; 0
    ignored (ADE20K)."""
    plain = Reading(num_classes, UNLABELLED, False)
    readings = [replace(plain, ignore_index=min(num_classes, 255)), plain, replace(plain, reduce_zero_label=True)]
    return [reading for reading in readings if reading.fits()]


def readings_of(present: np.ndarray) -> list[Reading]:
    """What a set that holds the values `present`, bool (256,), may be, the likeliest first; for whoever has to choose.

    Two values far apart, or few with gaps between them, are a list of `values`.
    """
    values = np.flatnonzero(present)
    if len(values) < 2:
        return []
    listed = Reading(len(values), UNLABELLED, None, {int(value): number for number, value in enumerate(values)})
    classes = values[values != UNLABELLED]
    top = int(classes.max())
    if top == 0 or (len(values) <= FEW_VALUES and top + 1 > 2 * len(classes)):
        return [listed]
    found = []
    if top >= 1 and present[0]:
        found.append(Reading(top + 1, UNLABELLED, False))
    if top >= 2 or not present[0]:
        found.append(Reading(max(top, 1), UNLABELLED, True))
    if top >= 2 and present[0] and not present[UNLABELLED]:
        found.append(Reading(top, top, False))
    found = [reading for reading in found if reading.fits() and reading.num_classes > 1]
    return found or ([listed] if len(values) <= FEW_VALUES else [])


def ranges(values: np.ndarray) -> str:
    """ "0 to 12 and 255"; of two neighbours "0 and 1"."""
    runs: list[list[int]] = []
    for value in values.tolist():
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    texts = [
        text
        for low, high in runs
        for text in ([f"{low} to {high}"] if high > low + 1 else map(str, range(low, high + 1)))
    ]
    shown = texts if len(texts) <= 4 else [*texts[:3], "…", texts[-1]]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
