"""How a data set codes its classes in maps: as numbers, as more numbers than a byte holds, or as colours.

What is told by `data.values` and `data.colours` is turned here into what `LabelTable` and the decoder of maps know.
Colours, numbers above 255, and those of more than 255 classes become classes while a map is decoded; smaller numbers
stay as they are stored, so that whoever looks a set over can judge them.

Shape letters: H W pixels.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_hydra.data.label_table import IGNORE, Reading
from mae_hydra.data.labels.maps import decode_colours, decode_labels, decode_numbers
from mae_hydra.errors import UserError

MOST_STORED = 2**16 - 1
MOST_OF_BYTES = 253  # classes of which colours are a table of bytes, beside what is ignored and what is unknown
OTHER = "other"  # in `colours`: all that are not named
SHOWN = 12  # unknown colours that are named

Told = Mapping[int | str, int | str]
"""Stored value or range of values ("128-255") -> class number, class name or "ignore"; "12-24" -> "11-23" in order."""
Span = tuple[int, int]
Box = tuple[Span, Span, Span]  # red, green, blue


@dataclass(frozen=True)
class Coding:
    """What stands in the maps of a set, and how it is read.

    `reading`: what is left to say of the decoded numbers. `colours`: each colour with its class. `wide`: stored values
    with their class, where some are above 255. `brightness`: every value has a meaning, so that what a viewer shows is
    read and JPEGs do no harm. `other`: the class of all other colours (None: they are an error).
    """

    reading: Reading
    colours: tuple[tuple[Box, int], ...] = ()
    wide: tuple[tuple[Span, int], ...] = ()
    brightness: bool = False
    other: int | None = None

    def decode(self, encoded: bytes, name: str) -> Tensor:
        """Numbers uint8 or uint16 (H, W) of which `reading` says the class; UserError naming `name`."""
        if self.colours:
            known = self.colours, self.other, self.reading.num_classes > MOST_OF_BYTES
            return torch.from_numpy(_classes_of(decode_colours(encoded, name), known, name))
        if self.wide:
            stored = decode_numbers(encoded, name, most=MOST_STORED, brightness=False)
            return torch.from_numpy(self._narrowed(stored, name))
        return decode_labels(encoded, name, brightness=self.brightness)

    @property
    def facts(self) -> tuple[object, ...]:
        """What else than `reading` decides the classes; nothing where maps are plain numbers."""
        other = () if self.other is None else (self.other,)
        return tuple(each for each in (self.colours, self.wide, self.brightness, other) if each)

    def _narrowed(self, stored: Tensor, name: str) -> np.ndarray:
        known, classes = _wide_table(self.wide, self.reading.table().class_of.dtype)
        values = stored.numpy()
        if not known[values].all():
            wrong = values[~known[values]]
            raise UserError(
                f"the class map {name} holds the value {int(wrong[0])}, {len(wrong)} pixels have one that data.values "
                "does not have: add it there, or correct the map"
            )
        return classes[values]


def coding_of(
    *,
    num_classes: int,
    names: Sequence[str] | None,
    ignore_index: int,
    ignore_values: Sequence[int] = (),
    reduce_zero_label: bool = False,
    values: Told | None = None,
    colours: Mapping[str, int | str] | None = None,
) -> Coding:
    """The coding that a configuration tells; ValueError where it makes no sense. `names`: of the classes, if known."""
    extra = tuple(ignore_values)
    if num_classes + (reduce_zero_label and values is None and colours is None) > MOST_STORED:
        raise ValueError(
            f"data.num_classes must be at most {MOST_STORED}: class maps of 16 bits hold no more beside what is "
            f"ignored, got {num_classes}"
        )
    if num_classes > 255 and ignore_index < num_classes:
        raise ValueError(
            f"data.ignore_index={ignore_index} is one of {num_classes} classes; what counts for nothing needs a number "
            f"of its own: data.ignore_index={num_classes}"
        )
    if colours is not None:
        if values is not None:
            raise ValueError("data.values and data.colours both say what a map holds; give one of them")
        if ignore_index == _unknown(num_classes > MOST_OF_BYTES) or ignore_index < num_classes:
            raise ValueError(
                f"data.ignore_index must be {max(255, num_classes)} beside data.colours, got {ignore_index}"
            )
        rest = colours.get(OTHER)
        other = None if rest is None else _number(rest, num_classes, names, ignore_index, f"data.colours: {OTHER}")
        colours = {key: meaning for key, meaning in colours.items() if key != OTHER}
        table = tuple(
            (_box(key), _number(meaning, num_classes, names, ignore_index, f"data.colours: {key}"))
            for key, meaning in colours.items()
        )
        _refuse_overlaps(table, list(colours))
        return Coding(Reading(num_classes, ignore_index, None), colours=table, other=other)
    if values is None and num_classes > 255:
        shift = int(reduce_zero_label)
        plain: dict[int | str, int | str] = {
            ignore_index: IGNORE,
            MOST_STORED: IGNORE,
            **({0: IGNORE} if shift else {}),
        }
        values = plain | {number + shift: number for number in range(num_classes)}
    if values is None:
        return Coding(Reading(num_classes, ignore_index, reduce_zero_label, None, extra))
    spans = [each for key, meaning in values.items() for each in _meanings(key, meaning, num_classes, names)]
    if not any(number >= 0 for _, number in spans):
        raise ValueError("data.values names no class")
    taken: dict[int, int] = {}
    for (low, high), number in spans:
        for value in range(low, high + 1):
            if taken.setdefault(value, number) != number:
                raise ValueError(f"data.values says two things of the stored value {value}")
    if max(taken) > 255 or num_classes > 255:
        wide = tuple((span, ignore_index if number < 0 else number) for span, number in spans)
        wide += tuple(((value, value), ignore_index) for value in extra)
        return Coding(Reading(num_classes, ignore_index, None), wide=wide)
    meanings = {value: IGNORE if number < 0 else number for value, number in sorted(taken.items())}
    reading = Reading(num_classes, ignore_index, reduce_zero_label, meanings, extra)
    return Coding(reading, brightness=len(taken) == 256)


def _meanings(
    key: int | str, meaning: int | str, num_classes: int, names: Sequence[str] | None
) -> list[tuple[Span, int]]:
    """What an entry of `data.values` says, as spans with their class each, -1 for what is ignored."""
    where = f"data.values: {key}"
    low, high = span_of(key, "data.values")
    in_order = re.fullmatch(r"(\d+)-(\d+)", str(meaning)) if meaning not in (names or ()) else None
    if in_order is None:
        return [((low, high), _number(meaning, num_classes, names, -1, where))]
    first, last = int(in_order[1]), int(in_order[2])
    if last - first != high - low:
        raise ValueError(f"{where} is said to be {meaning}, which are not as many classes as values")
    return [
        ((low + step, low + step), _number(first + step, num_classes, names, -1, where))
        for step in range(high - low + 1)
    ]


def span_of(key: int | str, where: str) -> Span:
    """ "7" or "128-255" as (low, high); ValueError where it is neither."""
    found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(key))
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not 0 <= low <= high <= MOST_STORED:
        raise ValueError(f"{where}: {key} is no stored value 0..{MOST_STORED} and no range of them such as 128-255")
    return low, high


def colour_of(text: object, where: str) -> tuple[int, int, int]:
    """ "255 0 0", "#ff0000" or [255, 0, 0] as three numbers; ValueError where it is none of them."""
    boxes = _spans(text)
    if boxes is None or any(low != high for low, high in boxes):
        raise ValueError(f"{where}: {text} is no color; write 255 0 0 or #ff0000")
    return boxes[0][0], boxes[1][0], boxes[2][0]


def _box(text: object) -> Box:
    """A colour, or with ranges in it a part of all colours ("0-127 128-255 0")."""
    spans = _spans(text)
    if spans is None:
        raise ValueError(f"data.colours: {text} is no color; write 255 0 0, #ff0000, or ranges 0-127 0-127 255")
    return spans


def _spans(text: Any) -> Box | None:
    if isinstance(text, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", text.strip()):
        numbers = bytes.fromhex(text.strip()[1:])
        red, green, blue = ((each, each) for each in numbers)
        return red, green, blue
    parts = re.split(r"[\s,]+", text.strip()) if isinstance(text, str) else list(text) if _is_list(text) else []
    try:
        spans = [span_of(str(part), "") for part in parts]
    except ValueError:
        return None
    if len(spans) != 3 or any(high > 255 for _, high in spans):
        return None
    return spans[0], spans[1], spans[2]


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _number(meaning: object, num_classes: int, names: Sequence[str] | None, ignored: int, where: str) -> int:
    """The class that is meant, or `ignored`."""
    if meaning == IGNORE:
        return ignored
    if names is not None and meaning in names:
        return names.index(str(meaning))
    if isinstance(meaning, int) and not isinstance(meaning, bool) and 0 <= meaning < num_classes:
        return meaning
    known = f", or one of {', '.join(names[:6])}{', …' if len(names) > 6 else ''}" if names else ""
    raise ValueError(f"{where} is said to be {meaning}; wanted is a class 0..{num_classes - 1}{known}, or {IGNORE}")


def _refuse_overlaps(table: Sequence[tuple[Box, int]], keys: Sequence[object]) -> None:
    for (one, (box, number)), (other, (second, meaning)) in itertools.combinations(enumerate(table), 2):
        meet = all(low <= upper and lower <= high for (low, high), (lower, upper) in zip(box, second, strict=True))
        if meet and number != meaning:
            raise ValueError(f"data.colours says two things: {keys[one]} and {keys[other]} are one color")


@lru_cache(maxsize=2)
def _colour_table(colours: tuple[tuple[Box, int], ...], other: int | None, wide: bool) -> np.ndarray:
    """uint8 or uint16 (2**24,): the class of every colour, `_unknown` where it has none."""
    rest = _unknown(wide) if other is None else other
    table = np.full((256, 256, 256), rest, np.uint16 if wide else np.uint8)
    for ((r0, r1), (g0, g1), (b0, b1)), number in colours:
        table[r0 : r1 + 1, g0 : g1 + 1, b0 : b1 + 1] = number
    return table.ravel()


def _unknown(wide: bool) -> int:
    """What stands in a table of colours for those without a class."""
    return MOST_STORED if wide else 254


def _classes_of(values: np.ndarray, known: tuple[Any, int | None, bool], name: str) -> np.ndarray:
    places = (values[..., 0].astype(np.int32) << 16) | (values[..., 1].astype(np.int32) << 8) | values[..., 2]
    classes = _colour_table(*known)[places]
    unknown = places[classes == _unknown(known[2])]
    if len(unknown) and known[1] is None:
        found = Counter(dict(zip(*(each.tolist() for each in np.unique(unknown, return_counts=True)), strict=True)))
        shown = ", ".join(
            f"{place >> 16} {place >> 8 & 255} {place & 255} ({count} pixels)"
            for place, count in found.most_common(SHOWN)
        )
        more = ", …" if len(found) > SHOWN else ""
        raise UserError(
            f"the class map {name} holds {len(found)} color{'' if len(found) == 1 else 's'} that data.colours does "
            f"not have, {shown}{more}; add them there, as a class or as {IGNORE} (+data.colours={{r g b: {IGNORE}}})"
        )
    return classes


@lru_cache(maxsize=2)
def _wide_table(wide: tuple[tuple[Span, int], ...], kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    known, classes = np.zeros(MOST_STORED + 1, bool), np.zeros(MOST_STORED + 1, kind)
    for (low, high), number in wide:
        known[low : high + 1], classes[low : high + 1] = True, number
    return known, classes
