"""Which photo belongs to which class map, by what `data=segmentation` is told: folders, suffixes, splits and lists.

A picture's key is what stands for `*` in its pattern, the folders below it, and its name without suffix and ending.
Photo and map of one key belong together; where no two have the same, names alone decide if none occurs twice.
"""

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mae_hydra.data.listing import EXTENSIONS, WITH_ARRAYS, find_images
from mae_hydra.data.readers.folder import split_by_name
from mae_hydra.data.readers.split_lists import Columns, Entry, chosen, entries_of
from mae_hydra.errors import UserError

Patterns = str | Sequence[str]
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


def parts_of(layout: Layout, sides: Sequence[Side] = ("train", "validation")) -> dict[Side, Part]:
    """The parts of these sides; UserError where a folder or list is not there. Their defects are told in them."""
    found = {side: _part(layout, side) for side in sides if side != "test" or _is_there(layout, "test")}
    if "validation" not in sides or "train" not in sides:
        return {side: part for side, part in found.items() if part is not None}
    train, validation = found.get("train"), found.get("validation")
    if train is None and validation is None:
        raise UserError(
            "nothing says which photos are for training: give data.splits.train, or data.lists.train, or leave "
            "{split} out of data.images"
        )
    if train is None:  # a set to evaluate on
        found["train"] = Part()
    elif validation is None:
        held = split_by_name(train.keys, layout.validation_fraction) if train.keys else ([], [])
        kept = train.some(held[0])
        found["train"], found["validation"] = kept.with_defects_of(train), train.some(held[1])
    return {side: part for side, part in found.items() if part is not None}


def _is_there(layout: Layout, side: Side) -> bool:
    """Whether something tells a side apart from the others."""
    return bool(layout.lists.get(side)) or (layout.has_splits and bool(layout.splits.get(side)))


def _part(layout: Layout, side: Side) -> Part | None:
    """A side's photos and maps; None where nothing tells which they are."""
    listed = layout.lists.get(side)
    if listed:
        names = layout.splits.get(side) or ("",)
        entries = [
            entry for name in names for each in listed for entry in entries_of(layout.root, each, name, layout.columns)
        ]
        entries = list(dict.fromkeys(entries))
        return _listed(layout, side, entries)
    if layout.has_splits and layout.splits.get(side):
        return _matched(layout, side)
    if side != "train" or layout.has_splits:
        return None
    whole = _matched(layout, side)
    taken = {key for other in SIDES[1:] if layout.lists.get(other) for key in _listed_keys(layout, other)}
    if taken:
        return whole.some([key for key in whole.keys if key not in taken]).with_defects_of(whole)
    return whole


def _listed_keys(layout: Layout, side: Side) -> list[str]:
    part = _part(layout, side)
    return part.keys if part else []


def _listed(layout: Layout, side: Side, entries: Sequence[Entry]) -> Part:
    paired = [entry for entry in entries if entry.map]
    if paired:
        part = Part()
        for entry in paired:
            places = [_below(layout.root, name) for name in (entry.image, entry.map)]
            if None in places:
                part.unknown.append(entry.image if places[0] is None else entry.map)
                continue
            part.images.append(str(places[0]))
            part.keys.append(str(places[0]).rpartition(".")[0])
            if layout.maps:
                part.maps.append(str(places[1]))
        return part
    part = _matched(layout, side)
    meant = chosen([entry.image for entry in entries], part.keys, layout.image_suffix)
    unknown = [entry.image for entry, key in zip(entries, meant, strict=True) if key is None]
    if not layout.maps:
        _take_labels(part, side, {entry: key for entry, key in zip(entries, meant, strict=True) if key is not None})
    wanted = set(meant)
    listed = part.some([key for key in part.keys if key in wanted])
    listed.twice = part.twice
    alone = {_key_of_file(each, layout.image_suffix) for each in part.alone}
    without = [name for name in unknown if name.rpartition("/")[2] in alone]
    listed.alone = without
    listed.unknown = [name for name in unknown if name not in set(without)]
    return listed


def _take_labels(part: Part, side: Side, meant: Mapping[Entry, str]) -> None:
    for entry, key in meant.items():
        if entry.label and part.labels.setdefault(key, entry.label) != entry.label:
            raise UserError(
                f"the list of {side} tells two classes of {entry.image}, {part.labels[key]} and {entry.label}; "
                "data.columns says where the class stands"
            )


def _key_of_file(path: str, suffix: str) -> str:
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return stem.removesuffix(stem_suffix(suffix))


def _matched(layout: Layout, side: Side) -> Part:
    """All photos of a side and their maps by their keys."""
    part = Part()
    names = layout.splits.get(side) or ("",)
    for name in names if layout.has_splits else ("",):
        images = _files(
            layout.root, layout.images, layout.image_suffix, name, part.twice, part.passed_over, layout.endings
        )
        if not layout.maps:
            _add(part, images, None)
            continue
        maps = _files(layout.root, layout.maps, layout.map_suffix, name, part.twice)
        _tell_apart(images, maps, layout, name)
        if images.keys().isdisjoint(maps):  # in folders that are called apart
            images, maps = _by_last_name(images, maps) or (images, maps)
        _add(part, images, maps)
    order = sorted(range(len(part.keys)), key=part.images.__getitem__)
    part.images = [part.images[each] for each in order]
    part.keys = [part.keys[each] for each in order]
    part.maps = [part.maps[each] for each in order] if part.maps else []
    return part


def _add(part: Part, images: Mapping[str, str], maps: Mapping[str, str] | None) -> None:
    known = set(part.keys)
    for key, path in images.items():
        if maps is not None and key not in maps:
            part.alone.append(path)
            continue
        unique = key
        while unique in known:
            unique = f"{unique} (2)"
        known.add(unique)
        part.images.append(path)
        part.keys.append(unique)
        if maps is not None:
            part.maps.append(maps[key])
    part.orphans += [path for key, path in (maps or {}).items() if key not in images]


def _by_last_name(*sides: Mapping[str, str]) -> list[dict[str, str]] | None:
    """The same files by their names alone; None where names occur twice, or where that pairs nothing either."""
    found = [{key.rpartition("/")[2]: path for key, path in side.items()} for side in sides]
    unique = all(len(those) == len(side) for those, side in zip(found, sides, strict=True))
    return found if unique and not found[0].keys().isdisjoint(found[1]) else None


def _tell_apart(images: dict[str, str], maps: dict[str, str], layout: Layout, name: str) -> None:
    """A file is a photo or a map: where both patterns meet, it is what has the longer suffix or the inner folder."""
    both = set(images.values()) & set(maps.values())
    if not both:
        return
    suffixes = [layout.image_suffix.replace(SPLIT, name), layout.map_suffix.replace(SPLIT, name)]
    depths = [max(pattern.strip("./").count("/") + bool(pattern.strip("./")) for pattern in each)
              for each in (layout.images, layout.maps)]  # fmt: skip
    images_win = (len(stem_suffix(suffixes[0])), depths[0]) > (len(stem_suffix(suffixes[1])), depths[1])
    loser = maps if images_win else images
    for key in [key for key, path in loser.items() if path in both]:
        del loser[key]


def _files(
    root: Path,
    patterns: Sequence[str],
    suffix: str,
    name: str,
    twice: list[tuple[str, str]],
    passed_over: Counter[str] | None = None,
    endings: tuple[str, ...] = EXTENSIONS,
) -> dict[str, str]:
    """Key -> path below the root; of several patterns the first one that has the key."""
    suffix = suffix.replace(SPLIT, name)
    found: dict[str, str] = {}
    folders = [folder for pattern in patterns for folder in _folders(root, pattern.replace(SPLIT, name))]
    if not folders:
        shown = " or ".join(pattern.replace(SPLIT, name) for pattern in patterns)
        raise UserError(f"there is no folder {shown} in {root}{_instead(root, patterns[0].replace(SPLIT, name))}")
    for folder, wild in folders:
        for below in find_images(root / folder, endings, passed_over):
            stem, _, ending = below.rpartition(".")
            wanted, given = stem_suffix(suffix), ending_of(suffix)
            if not stem.endswith(wanted) or (given and f".{ending.lower()}" != given):
                continue
            key = "/".join((*wild, stem.removesuffix(wanted) if wanted else stem))
            path = f"{folder}/{below}".removeprefix("./").removeprefix("/")
            if key in found and found[key].rpartition(".")[0] == path.rpartition(".")[0] != path:
                twice.append((found[key], path))
            found.setdefault(key, path)
    return found


def _folders(root: Path, pattern: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Folders that exist below the root, each with the names that `*` stands for, in order."""

    def descend(done: str, wild: tuple[str, ...], rest: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        if not rest:
            yield done or ".", wild
            return
        first, *others = rest
        if "*" not in first and "?" not in first:
            if (root / done / first).is_dir():
                yield from descend(f"{done}/{first}".lstrip("/"), wild, others)
            return
        with os.scandir(root / done) as entries:
            names = sorted(each.name for each in entries if each.is_dir() and not each.name.startswith("."))
        for each in fnmatch.filter(names, first):
            yield from descend(f"{done}/{each}".lstrip("/"), (*wild, each), others)

    return descend("", (), [part for part in pattern.strip("/").split("/") if part not in ("", ".")])


def _instead(root: Path, pattern: str) -> str:
    """What lies where a folder was looked for."""
    place = root
    for name in pattern.split("/"):
        if not (place / name).is_dir():
            break
        place = place / name
    there = sorted(each.name for each in place.iterdir() if each.is_dir() and not each.name.startswith("."))
    where = "" if place == root else f" in {place.relative_to(root)}/"
    shown = f" (there is {', '.join(f'{each}/' for each in there[:6])}{where})" if there else ""
    return f"{shown}; correct data.root, data.images, data.maps or data.splits"


def _below(root: Path, name: str) -> str | None:
    """A listed path below the root; of one that begins on another machine the end that exists here."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        rest = "/".join(parts[start:])
        if ".." not in parts[start:] and (root / rest).is_file():
            return rest
    return None


def stem_suffix(suffix: str) -> str:
    """What of a suffix belongs to the stem: "_gt" of "_gt.png"."""
    return suffix[: len(suffix) - len(ending_of(suffix))]


def ending_of(suffix: str) -> str:
    """The ending that a suffix tells, ".png" of "_gt.png"; "" where it tells none."""
    return next((each for each in WITH_ARRAYS if suffix.lower().endswith(each)), "")
