"""Before the first step: a sample of the class maps, compared with what the configuration takes them for.

What would train to nonsense is an error that says what to type, what is doubtful is a line on the console. It is the
judgement of `mae-hydra check-data`, of as many maps as a few seconds allow, spread over the set.

Shape letters: S class maps looked at.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mae_hydra.data.audit.conventions import ENOUGH, in_two_codings, judged, looked_at
from mae_hydra.data.audit.findings import TURNED_APART
from mae_hydra.data.audit.labels import MOST_IGNORED, stray_findings
from mae_hydra.data.audit.listing import Finding, found
from mae_hydra.data.dataset import ImageData, ImageSet, Listed, behind
from mae_hydra.data.label_table import Reading
from mae_hydra.data.labels.maps import first_clash, turned_apart
from mae_hydra.data.loading.unreadable import FEW
from mae_hydra.errors import UserError

SECONDS = 2.0
MOST_THREADS = 8
GOLDEN = 0.618  # share of the set between one sample and the next: any first part of them is spread over all


@dataclass
class Sampled:
    """Some class maps of a split (`Seen`). `broken`: why one could not be read. `turned`: photos that EXIF turns while
    their map has no orientation of its own. `palettes`: of files, the colours of their values."""

    images: ImageSet | Sequence[Any]
    positions: list[int] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    palettes: dict[str, Mapping[int, tuple[int, int, int]]] = field(default_factory=dict)
    values: int = 256

    @property
    def stored(self) -> np.ndarray:
        return sum(map(self._wide, self.counts), np.zeros(self._values, np.int64))

    @property
    def mapped(self) -> np.ndarray:
        return np.arange(len(self.counts))

    @property
    def whole(self) -> bool:
        return len(self.counts) + len(self.broken) == len(self.images)

    def holds(self, values: np.ndarray) -> np.ndarray:
        return np.array([bool(count[values[: len(count)]].any()) for count in self.counts], dtype=bool)

    def images_with(self) -> np.ndarray:
        return sum((self._wide(count) > 0 for count in self.counts), np.zeros(self._values, np.int64))

    @property
    def _values(self) -> int:
        """How many stored values there may be."""
        return max(self.values, 256, *map(len, self.counts)) if self.counts else max(self.values, 256)

    def _wide(self, count: np.ndarray) -> np.ndarray:
        return np.pad(count, (0, self._values - len(count)))

    def labels_name(self, row: int) -> str:
        images, index = behind(self.images, self.positions[row])
        paths = getattr(images, "paths", None)
        return f"number {index}" if paths is None else str(paths(index)[1])


def check_labels(data: ImageData, *, training: bool = True, seconds: float = SECONDS) -> list[str]:
    """Doubts about the class maps of `data`, a line each; UserError where they cannot mean what is configured, or where
    class ids in shards are none of the classes.

    Embedded data are not looked at: they are what they are. `training`: False for an evaluation, which needs no others.
    """
    for images in (data.train, data.validation) if training and not data.max_bad_share else ():
        whole = behind(images, 0)[0]
        if hasattr(whole, "check_classes"):
            whole.check_classes()
    if data.target != "map" or not _of_files(data.validation):
        return []
    train, validation = sample(data.train if training else [], data.validation, seconds=seconds)
    reading = data.reading or Reading(data.num_classes, data.ignore_index, None)
    if reading.fits():
        train.values = validation.values = len(reading.table().accepted)
    findings, best = judged((train, validation), reading, named=not data.assumed_names)
    lines = [_say(finding) for finding in findings if finding.level != "note"]
    lines += _strays(train, validation, best, data.max_bad_share)
    too_many = any(finding.kind == "number of classes" for finding in findings)
    lines += _absent(train, reading, data.class_names, said=too_many)
    return [*lines, *_turned((train, validation)), *_recoded((train, validation), reading, said=bool(lines))]


def sample(train: ImageSet | Sequence[Any], validation: ImageSet, *, seconds: float) -> tuple[Sampled, Sampled]:
    """As many class maps of both as can be read in that time, in turn, by several threads: decoding lets others run."""
    until = time.monotonic() + seconds
    parts = Sampled(train), Sampled(validation)
    jobs = [(part, index) for pair in zip_longest(*map(spread, (train, validation))) for part, index in _both(pair)]
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(jobs), threads):
            if time.monotonic() > until:
                break
            batch = jobs[start : start + threads]
            looks = pool.map(lambda job: look(parts[job[0]].images, job[1]), batch)
            for (part, index), seen in zip(batch, looks, strict=True):
                _note(parts[part], index, seen)
    return parts


def _both(pair: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    return ((part, index) for part, index in enumerate(pair) if index is not None)


def spread(images: Sized) -> list[int]:
    """All positions, in an order of which any beginning is spread over the whole."""
    size = len(images)
    step = max(round(GOLDEN * size), 1)
    while np.gcd(step, max(size, 1)) != 1:
        step += 1
    return [number * step % size for number in range(size)]


class Look(NamedTuple):
    """A class map: pixels of each stored value, int64 (256,); the photo, where EXIF turns it and its map not; the file,
    and the colours of its values where it has a palette."""

    counts: np.ndarray
    turned: str = ""
    file: str = ""
    palette: Mapping[int, tuple[int, int, int]] = MappingProxyType({})


def look(images: Any, index: int) -> Look | UserError:
    """Read a class map; UserError is given back."""
    images, index = behind(images, index)
    own = getattr(images, "stored_labels", None)
    try:
        if own is None:
            label = images[index].label
            stored = label.numpy() if isinstance(label, Tensor) else np.zeros(0, np.uint8)
        else:
            stored = own(index)
    except UserError as error:
        return error
    paths = images.paths(index) if hasattr(images, "paths") else None
    counts = np.bincount(stored.ravel(), minlength=256)
    if paths is None:
        return Look(counts)
    palette = images.palette(index, np.flatnonzero(counts).tolist()) if hasattr(images, "palette") else {}
    return Look(counts, str(paths[0]) if turned_apart(*paths) else "", str(paths[1]), palette)


def _note(sampled: Sampled, index: int, look: Look | UserError) -> None:
    if isinstance(look, UserError):
        sampled.broken.append(str(look))
        return
    sampled.positions.append(index)
    sampled.counts.append(look.counts)
    if look.turned:
        sampled.turned.append(look.turned)
    if look.palette:
        sampled.palettes[look.file] = look.palette


def _say(finding: Finding) -> str:
    """The finding as a line; an error ends here."""
    if finding.level == "error":
        raise UserError(f"{finding.sentence}. All of the set: mae-hydra check-data")
    return finding.sentence


def _strays(train: Sampled, validation: Sampled, reading: Reading, max_bad_share: float) -> Iterator[str]:
    """Maps that cannot be used: training replaces a few, validation none."""
    accepted = reading.table().accepted
    for part, most in ((validation, 0.0), (train, max_bad_share)):
        strays = stray_findings([part], reading)
        bad = len(part.broken) + int(part.holds(~accepted).sum())
        if not bad:
            continue
        reason = strays[0].sentence if strays else part.broken[0]
        total = len(part.counts) + len(part.broken)
        if part is validation or most == 0 or bad == total or (bad >= FEW and bad > most * total):
            raise UserError(f"{reason}. All of the set: mae-hydra check-data")
        yield f"{reason}; others take their place, up to data.max_bad_share"


def _absent(train: Sampled, reading: Reading, names: Sequence[str], *, said: bool) -> Iterator[str]:
    """Classes without a pixel where all was seen (`said`: that there are too many has been), and few labels at all."""
    if not train.counts:
        return
    table, stored = reading.table(), train.stored
    labelled = np.unique(table.class_of[(stored > 0) & table.counted])
    absent = sorted(set(range(reading.num_classes)) - set(labelled.tolist()) - {reading.ignore_index})
    if absent and train.whole and not said:
        shown = ", ".join(names[number] for number in absent[:6]) + (", …" if len(absent) > 6 else "")
        plural = "class has" if len(absent) == 1 else "classes have"
        yield f"{len(absent)} of {reading.num_classes} {plural} no labeled pixel in training ({shown})"
    if reading.ignore_index < reading.num_classes:
        name = names[reading.ignore_index]
        yield f"data.ignore_index={reading.ignore_index} is a class as well ({name}): it counts for nothing"
    share = 1 - stored[table.counted].sum() / max(stored.sum(), 1)
    if share > MOST_IGNORED and (train.whole or len(train.counts) >= ENOUGH):
        yield f"{share:.0%} of the pixels of {looked_at([train])} of training are ignored ({reading.convention()})"


def _turned(parts: Sequence[Sampled]) -> Iterator[str]:
    files = [file for part in parts for file in part.turned]
    if files:
        level, says, way = TURNED_APART
        yield found(level, "", files, says, way).sentence


def _recoded(parts: Sequence[Sampled], reading: Reading, *, said: bool) -> Iterator[str]:
    """Maps of which some may be coded in another way than the others, though every value has a meaning (`said`: that
    the values are doubtful has been)."""
    if (
        reading.values is None
        and not said
        and in_two_codings([np.flatnonzero(row).tolist() for part in parts for row in part.counts])
    ):
        yield (
            "some class maps hold 0 and 1, others 0 and 255, and none holds 1 and 255: 255 is ignored now; where it is "
            "what 1 is, give 'data.values={0:0,1:1,255:1}'"
        )
    files = [each for part in parts for each in part.palettes.items()]
    clash = first_clash(palette for _, palette in files)
    if clash is not None:
        value, *places = clash
        (one, known), (other, own) = (files[place] for place in places)
        yield (
            f"the palettes of class maps differ: {value} is the color {' '.join(map(str, known[value]))} in {one} and "
            f"{' '.join(map(str, own[value]))} in {other}; if every file numbers its colors anew, its numbers are no "
            "classes: give data.colours"
        )


def _of_files(images: ImageSet) -> bool:
    return isinstance(images, Listed) and not images.listing().endswith("embedded")
