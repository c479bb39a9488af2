"""What `data=segmentation` is told of where its files lie, and what a side of the set is found to be."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mae_hydra.data.listing import EXTENSIONS
from mae_hydra.data.readers.split_lists import Columns

SIDES = ("train", "validation", "test")
Side = str
SPLIT = "{split}"


@dataclass(frozen=True)
class Layout:
    """Where the pictures of a set lie; see `mae_hydra.data.segmentation` for the keys.

    `splits`: side -> what it is called here (several: all of them; none: the side is not there).
    `lists`: side -> files of names, or names themselves; `columns`: see `entries_of`.
    """

    root: Path
    images: tuple[str, ...]
    maps: tuple[str, ...]  # empty: photos alone
    image_suffix: str
    map_suffix: str
    splits: Mapping[Side, tuple[str, ...]]
    lists: Mapping[Side, tuple[str, ...]]
    validation_fraction: float
    columns: Columns = (0, 1)
    endings: tuple[str, ...] = EXTENSIONS  # of what is read

    @property
    def has_splits(self) -> bool:
        return any(SPLIT in text for text in (*self.images, *self.maps, self.image_suffix, self.map_suffix))

    @property
    def evaluates_only(self) -> bool:
        """Whether nothing is for training, as of sets of a few pictures that models of another set are compared on."""
        return self.has_splits and not self.splits.get("train") and not self.lists.get("train")


@dataclass
class Part:
    """The photos of one side and their class maps, paths below the root in order; and what is wrong with the others.

    `maps`: as many as `images`, or empty. `keys`: what a person would call them. `alone`: photos without a map,
    `orphans`: maps without a photo. `twice`: files that are told apart by their ending alone. `unknown`: what a list
    names and is not there. `labels`: the class of a key, where a list tells it.
    """

    images: list[str] = field(default_factory=list)
    maps: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    twice: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    labels: dict[str, str] = field(default_factory=dict)

    def some(self, keys: Sequence[str]) -> "Part":
        """The same of these keys only; what is wrong stays with the whole."""
        place = {key: number for number, key in enumerate(self.keys)}
        numbers = [place[key] for key in keys]
        return Part(
            [self.images[each] for each in numbers],
            [self.maps[each] for each in numbers] if self.maps else [],
            list(keys),
            labels={key: self.labels[key] for key in keys if key in self.labels},
        )

    def with_defects_of(self, other: "Part") -> "Part":
        return replace(
            self,
            alone=other.alone,
            orphans=other.orphans,
            twice=other.twice,
            unknown=other.unknown,
            passed_over=other.passed_over,
        )
