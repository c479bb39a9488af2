"""What a look at a folder found: facts alone. What to type for them is said by `words`.

Folders are patterns below the root: `{split}` stands for whatever the splits are called, `*` for folders of one kind
(cities, regions, classes). Shape letters: H W pixels.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mae_hydra.data.looking.class_files import ClassFile

Kind = Literal["maps", "classes", "photos", "shards", "tables", "list", "nothing"]
SIDES = ("train", "validation", "test", "")  # what a split is for; "": there is none


@dataclass(frozen=True)
class Split:
    """One split: what it is for ("" where the set has none), and what it is called here."""

    side: str
    name: str


@dataclass(frozen=True)
class Pixels:
    """What some pictures are. `sizes`: (H, W) of the smallest, the median and the largest by area. `modes`: Pillow's,
    with their number. `failed`: why one could not be read."""

    read: int = 0
    sizes: tuple[tuple[int, int], ...] = ()
    modes: tuple[tuple[str, int], ...] = ()
    bits: tuple[int, ...] = ()
    bands: tuple[int, ...] = ()
    failed: str = ""
    readable: bool = True  # by the readers of today


@dataclass(frozen=True)
class Part:
    """Files of one purpose: `<folder>/<stem><suffix><ending>`, and how many there are of each split."""

    folder: str
    suffix: str
    endings: tuple[str, ...]
    counts: Mapping[Split, int]
    pixels: Pixels = Pixels()
    folders: Mapping[Split, str] = field(default_factory=dict)  # of each split, without patterns; where there is one

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def pattern(self) -> str:
        return f"{self.folder}/*{self.suffix}{'|'.join(self.endings)}".removeprefix("/")


@dataclass(frozen=True)
class Labels:
    """What some of `of` class maps hold. `maps`: pixels of each stored number, of each map, by side; or `colours`: the
    share of each. `problem`: why one is no map of numbers that are read, "" where all are. `clash`: palettes that give
    a number different colours, which are told as well."""

    read: int
    of: int
    maps: Mapping[str, tuple[Mapping[int, int], ...]] = field(default_factory=dict)
    colours: tuple[tuple[tuple[int, int, int], float], ...] = ()
    problem: str = ""
    clash: bool = False

    def shares(self) -> dict[int, float]:
        """Of all pixels that were read, by the stored number."""
        sums: Counter[int] = Counter()
        for maps in self.maps.values():
            for counts in maps:
                sums.update(counts)
        total = sums.total() or 1
        return {value: sums[value] / total for value in sorted(sums)}


@dataclass(frozen=True)
class Pairs:
    """Photos with their class maps, by split. `others`: further maps of the same photos."""

    images: Part
    maps: Part
    counts: Mapping[Split, int]
    images_alone: Mapping[Split, int]
    maps_alone: Mapping[Split, int]
    labels: Labels
    others: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Found:
    """A folder, tar or list that was looked at.

    `photos`: pictures of every kind that are no class maps. `classes`: the folders of classes below `photos`, by side.
    `lists`: files that name the pictures of a split. `passed_over`: other files by ending. `notes`: what else to know.
    """

    root: Path
    kind: Kind
    photos: tuple[Part, ...] = ()
    maps: tuple[Part, ...] = ()
    pairs: Pairs | None = None
    otherwise: "Found | None" = None  # what else it may be, the less likely
    classes: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # of classes, where a file tells them
    class_file: ClassFile = field(default_factory=ClassFile)  # another one that may tell them
    num_classes: int = 0  # of shards: by their class ids
    map_ending: str = ""  # of the class maps in shards, or their column in tables; and what they hold
    map_labels: Labels | None = None
    image_suffix: str = ""  # of shards whose samples hold several pictures
    lists: Mapping[str, str] = field(default_factory=dict)  # file -> what its lines are
    class_lists: Mapping[str, tuple[int | str, int | str]] = field(default_factory=dict)  # file -> its two columns
    passed_over: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    complete: bool = True  # every file was seen


def side_order(split: Split) -> tuple[int, str]:
    return SIDES.index(split.side), split.name
