"""Which photo belongs to which class map, by what `data=segmentation` is told: folders, suffixes, splits and lists.

A picture's key is what stands for `*` in its pattern, the folders below it, and its name without suffix and ending.
Photo and map of one key belong together; where no two have the same, names alone decide if none occurs twice.
"""

from collections.abc import Mapping, Sequence

from mae_hydra.data.listing import WITH_ARRAYS
from mae_hydra.data.readers.folder import split_by_name
from mae_hydra.data.readers.found_files import below, files_by_key, stem_suffix
from mae_hydra.data.readers.layout import SIDES, SPLIT, Layout, Part, Side
from mae_hydra.data.readers.split_lists import Entry, chosen, entries_of
from mae_hydra.errors import UserError


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
            places = [below(layout.root, name) for name in (entry.image, entry.map)]
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
        images = files_by_key(
            layout.root, layout.images, layout.image_suffix, name, part.twice, part.passed_over, layout.endings
        )
        if not layout.maps:
            _add(part, images, None)
            continue
        maps = files_by_key(
            layout.root, layout.maps, layout.map_suffix, name, part.twice, endings=WITH_ARRAYS, arrays_last=True
        )
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
