"""A folder looked at: what its pictures are, which are class maps, and how they pair."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mae_hydra.data.dataset import spread
from mae_hydra.data.headers import read_header
from mae_hydra.data.labels.maps import first_clash
from mae_hydra.data.listing import ARRAYS, EXTENSIONS, WITH_ARRAYS
from mae_hydra.data.looking.class_files import class_file_of
from mae_hydra.data.looking.foreign import foreign_labels
from mae_hydra.data.looking.found import Found, Labels, Pairs, Part, Split, side_order
from mae_hydra.data.looking.lists import class_lists_of, lines_of
from mae_hydra.data.looking.pairing import Match
from mae_hydra.data.looking.pixels import Budget, Look, look_at, summary
from mae_hydra.data.looking.places import File, Group, groups_of
from mae_hydra.data.looking.roles import are_plainly_apart, first_looks, read, told_apart, union
from mae_hydra.data.looking.walk import Walked
from mae_hydra.data.readers.ade20k import CLASSES_FILE
from mae_hydra.errors import UserError

SAMPLE = 400  # class maps that are read, and twice as many headers at most
MOST_BYTES = 2**24  # of a file of names
FEW, LEAST_SIDE = 4, 8  # arrays that are looked at for their form; pixels of a side of what is no table of numbers
MOST_GROUPS = 48  # that are looked into; others are photos by their number
MOST_KINDS = 8  # folders of one kind that may be photos and what belongs to them, rather than classes
_PLAIN = Split("", "")


def look_at_folder(root: Path, walked: Walked, sample: int = SAMPLE) -> Found:
    """What the files of `walked` are, which lie below `root`; about `sample` class maps are read, as time allows."""
    budget = Budget()
    pictures = pictures_in(root, walked.files)
    known = set(pictures)
    others = [path for path in walked.files if path not in known]
    groups = groups_of(pictures)
    groups.sort(key=lambda group: -len(group.files))
    looks = {id(group): first_looks(root, group, budget) for group in groups[:MOST_GROUPS]}
    photos, maps, matches = told_apart(groups, looks)
    found = Found(
        root,
        "photos" if photos else "maps" if maps else "nothing",
        photos=tuple(_part(group, _looks(root, group, looks, budget)) for group in photos),
        maps=tuple(_part(group, looks[id(group)]) for group in maps),
        names=_names(root, walked.files),
        class_file=class_file_of(root, others),
        lists=lines_of(root, others, pictures),
        class_lists=class_lists_of(root, others, pictures),
        passed_over=dict(Counter(PurePosixPath(path).suffix.lower() for path in others).most_common()),
        notes=_notes(walked),
        complete=not walked.cut,
    )
    if matches:
        pairs = _pairs(root, matches, budget, sample)
        return replace(found, kind="maps", pairs=pairs, notes=(*found.notes, *_beside(groups, matches)))
    found = replace(found, notes=(*found.notes, *foreign_labels(root, others)))
    classes = _classes(photos)
    if not classes:
        return found
    found = replace(found, kind="classes", classes=classes)
    paired = _as_pairs(root, pictures, found, budget, sample)
    return found if paired is None else replace(paired, otherwise=found)


def _as_pairs(root: Path, pictures: Sequence[str], found: Found, budget: Budget, sample: int) -> Found | None:
    """Folders of one kind (`X`, `y`) read as photos and class maps, where that is what is in them."""
    if max(map(len, found.classes.values())) > MOST_KINDS:
        return None
    groups = groups_of(pictures, apart=True)
    if len(groups) > MOST_GROUPS or any("*" in group.folder for group in groups):
        return None
    looks = {id(group): first_looks(root, group, budget) for group in groups}
    if not are_plainly_apart(groups, looks):
        return None
    photos, maps, matches = told_apart(groups, looks)
    if not matches:
        return None
    parts = (tuple(_part(group, looks[id(group)]) for group in each) for each in (photos, maps))
    pairs = _pairs(root, matches, budget, sample)
    return replace(found, kind="maps", photos=next(parts), maps=next(parts), classes={}, pairs=pairs)


def pictures_in(root: Path, files: Sequence[str]) -> list[str]:
    """The pictures among some files; arrays are such where the first of them have the form of one."""
    arrays = [file for file in files if file.lower().endswith(ARRAYS)]
    endings = WITH_ARRAYS if arrays and all(_is_picture(root / file) for file in arrays[:FEW]) else EXTENSIONS
    return [file for file in files if file.lower().endswith(endings)]


def _is_picture(path: Path) -> bool:
    try:
        return min(read_header(path).size) >= LEAST_SIDE
    except (UserError, OSError):
        return False


def _looks(root: Path, group: Group, looks: Mapping[int, list[Look]], budget: Budget) -> list[Look]:
    known = looks.get(id(group), [])
    if len(known) == len(group.files) or (known and budget.spent()):
        return known
    return read(root, [group.files[place] for place in spread(len(group.files), SAMPLE)], budget, False)


def _beside(groups: Sequence[Group], matches: Sequence[Match]) -> Iterator[str]:
    """Pictures that are no part of the pairs: other sets in the same folder, as it seems."""
    used = {file for pair in matches for file in pair.maps.files} | set(matches[0].images.files)
    rest = [group for group in groups if used.isdisjoint(group.files)]
    if rest:
        count = sum(len(group.files) for group in rest)
        places = sorted({"/".join(group.folder) or "." for group in rest})
        more = ", …" if len(places) > 4 else ""
        noun = "picture lies" if count == 1 else "pictures lie"
        yield f"{count} other {noun} beside them ({', '.join(places[:4])}{more}); look at a folder by itself"


def _part(group: Group, looks: Sequence[Look], suffix: str | None = None) -> Part:
    counts = Counter(file.split or _PLAIN for file in group.files)
    ordered = {split: counts[split] for split in sorted(counts, key=side_order)}
    folders = {}
    if "*" not in group.folder:
        folders = {split: "/".join(group.folder).replace("{split}", split.name) for split in ordered}
    told = group.suffix if suffix is None else suffix
    return Part("/".join(group.folder), told, group.endings, ordered, summary(looks), folders)


def _pairs(root: Path, matches: Sequence[Match], budget: Budget, sample: int) -> Pairs:
    best = matches[0]
    images, maps = best.images, best.maps
    inner = 0  # folders of one name at the end of both
    while images.folder and maps.folder and images.folder[-1] == maps.folder[-1] and images.folder != maps.folder:
        if "{split}" in images.folder[-1]:
            break
        images, maps = (replace(each, folder=each.folder[:-1]) for each in (images, maps))
        inner += 1
    labels, of_maps = _labels(root, best.maps, budget, sample)
    of_images = read(
        root, [best.images.files[place] for place in spread(len(best.images.files), SAMPLE)], budget, False
    )
    return Pairs(
        images=_part(images, of_images, best.image_suffix),
        maps=_part(maps, of_maps, best.map_suffix),
        counts={split: best.both[split] for split in sorted(best.both, key=side_order)},
        images_alone=best.images_alone,
        maps_alone=best.maps_alone,
        labels=labels,
        others=tuple(_others(root, matches[1:], inner, budget)),
    )


def _others(root: Path, matches: Sequence[Match], inner: int, budget: Budget) -> Iterator[Part]:
    """The further maps, those of one place and suffix as one part."""
    places: dict[tuple[tuple[str, ...], str], list[Group]] = {}
    for each in matches:
        places.setdefault((each.maps.folder, each.map_suffix), []).append(each.maps)
    for (folder, suffix), groups in places.items():
        group = union(folder, suffix, groups)
        yield _part(_outer(group, inner), first_looks(root, group, budget))


def _outer(group: Group, inner: int) -> Group:
    return replace(group, folder=group.folder[: len(group.folder) - inner])


def _labels(root: Path, maps: Group, budget: Budget, sample: int) -> tuple[Labels, list[Look]]:
    """What the class maps hold, by side, of as many as are read, spread over the splits."""
    sides: dict[str, list[File]] = {}
    for file in maps.files:
        sides.setdefault((file.split or _PLAIN).side, []).append(file)
    values: dict[str, list[dict[int, int]]] = {}
    colours: Counter[tuple[int, int, int]] = Counter()
    every: list[Look] = []
    problem = ""
    for side, files in sides.items():
        for place in spread(len(files), max(sample // len(sides), 1)):
            if every and budget.spent():
                break
            look = look_at(root / files[place].path, files[place].path, budget, as_map=True)
            every.append(look)
            problem = problem or look.map_problem or (look.problem and f"cannot be read: {look.problem}")
            if look.values is not None:
                values.setdefault(side, []).append(look.values)
            elif look.colours is not None:
                colours.update(look.colours)
    clash = first_clash(look.palette for look in every) is not None
    if clash:
        colours = _coloured(every)
    total = sum(colours.values()) or 1
    shares = tuple((colour, count / total) for colour, count in colours.most_common())
    of_sides = {side: tuple(counts) for side, counts in values.items()}
    return Labels(len(every), len(maps.files), of_sides, shares, problem, clash), every


def _coloured(looks: Sequence[Look]) -> Counter[tuple[int, int, int]]:
    """Pixels of each colour of palettes."""
    colours: Counter[tuple[int, int, int]] = Counter()
    for look in looks:
        for value, count in (look.values or {}).items():
            if value in look.palette:
                colours[look.palette[value]] += count
    return colours


def _classes(photos: Sequence[Group]) -> dict[Split, tuple[str, ...]]:
    """The class folders of each split, where photos lie in such: folders of one kind, below a split perhaps with one
    folder more in each. Photos elsewhere are of other splits."""
    starred = [group for group in photos if group.folder.count("*") == 1]
    if len({group.folder for group in starred}) != 1:
        return {}
    folder = starred[0].folder
    inner = folder[folder.index("*") + 1 :]
    elsewhere = {file.split for group in photos if group not in starred for file in group.files}
    if len(inner) > ("{split}" in folder) or elsewhere & {file.split for group in starred for file in group.files}:
        return {}
    names: dict[Split, set[str]] = {}
    for group in starred:
        for file in group.files:
            names.setdefault(file.split or _PLAIN, set()).add(file.wild[-1])
    return {split: tuple(sorted(names[split])) for split in sorted(names, key=side_order)}


def _names(root: Path, files: Sequence[str]) -> tuple[str, ...]:
    """Names of classes that a file beside the pictures tells."""
    told = [name for name in files if name.rpartition("/")[2] == CLASSES_FILE]
    if len(told) != 1:
        return ()
    try:
        if (root / told[0]).stat().st_size > MOST_BYTES:
            return ()
        return tuple(map(str, json.loads((root / told[0]).read_text(encoding="utf-8"))["names"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


def _notes(walked: Walked) -> tuple[str, ...]:
    notes = []
    if walked.cut:
        notes.append(f"there is more than was looked at: the first {len(walked.files)} files")
    if walked.unlisted:
        notes.append(f"folders that may not be listed: {len(walked.unlisted)}, {walked.unlisted[0]} for one")
    if walked.loops:
        notes.append(f"links that lead back to a folder they lie in: {walked.loops}")
    if walked.hidden:
        notes.append(f"hidden files and folders that are left out: {walked.hidden}")
    return tuple(notes)
