"""The words of `data=segmentation` for pairs that were found, and the presets of public sets that read them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mae_hydra.data.labels.coding import Box, Coding, coding_of
from mae_hydra.data.looking.found import Found, Labels, Pairs
from mae_hydra.data.looking.places import split_of
from mae_hydra.data.readers.layout import SIDES
from mae_hydra.data.readers.pairs import parts_of
from mae_hydra.data.readers.segmentation import layout_of, refuse_defects
from mae_hydra.errors import UserError

Node = Mapping[str, Any]  # a data node, as a configuration has it
USUAL = {"train": "train", "validation": "val", "test": "test"}  # data.splits of conf/data/segmentation.yaml
DISTINCT = 6  # letters of a suffix that no two sets share by chance
ENOUGH_COLOURS = 3
CHANCE = 0.001  # that numbers drawn at random miss all gaps of a preset
SLIGHT = 16  # by which a color may differ from a pure one
LONG = 17  # letters of a folder of maps that no two sets share by chance; VOC's form (SegmentationClass) has 17
_PLACES = ("images", "maps", "image_suffix", "map_suffix", "splits", "validation_fraction", "lists")
_CONVERTED = "labelTrainIds"  # of cityscapesScripts and mmsegmentation: the classes themselves


def place_words(found: Found, pairs: Pairs) -> dict[str, Any]:
    """Where photos and maps lie, and which are for what."""
    images, maps = pairs.images, pairs.maps
    keys: dict[str, Any] = {"images": images.folder or ".", "maps": maps.folder or "."}
    for key, part, other in (("image_suffix", images, maps), ("map_suffix", maps, images)):
        suffix = part.suffix
        if not suffix and part.folder == other.folder and set(part.endings).isdisjoint(other.endings):
            suffix = part.endings[0]
        if suffix:
            keys[key] = suffix
    named = {split.side: split.name for split in pairs.counts if split.side}
    if named:
        splits = splits_of(named)
        if splits != USUAL:
            keys["splits"] = splits
    elif lists := lists_of(found):
        keys["lists"] = lists
    return keys


def splits_of(named: Mapping[str, str]) -> dict[str, str | None]:
    """`data.splits` for what the splits are called; where there is none for training, another one is for it."""
    train = named.get("train") or next(iter(named.values()))
    test = named.get("test")
    rest = {"validation": named.get("validation"), "test": test}
    return {"train": train} | {side: None if name == train else name for side, name in rest.items()}


def said_of(found: Found, pairs: Pairs, keys: Node) -> Iterator[str]:
    """What to know of the split."""
    named = {split.side for split in pairs.counts if split.side} or set(keys.get("lists") or ())
    if "train" not in named or "validation" not in named:
        there = " and ".join(sorted(named & {"train", "validation"})) + " alone" if named - {"test"} else "none"
        yield (
            f"of the splits training and validation there is {there}: a share of the photos, chosen by their names, is "
            "for validation (data.validation_fraction)"
        )
    if pairs.labels.clash:
        yield (
            "warning: the class maps are palette PNGs that give one number different colours: either each numbers its "
            "colours anew, and the colours are the classes, or the colours mean nothing; compare the pictures"
        )
    alone = sum(pairs.images_alone.values()), sum(pairs.maps_alone.values())
    if any(alone) and "lists" not in keys:
        yield f"{alone[0]} photos have no class map and {alone[1]} class maps no photo: they are left out"


def lists_of(found: Found) -> dict[str, str]:
    """The lists of splits, by what they are called; those of segmentation before others."""
    chosen: dict[str, str] = {}
    order = sorted(found.lists, key=lambda file: ("segm" not in file.lower(), file.count("/"), len(file)))
    for file in order:
        split = split_of(PurePosixPath(file).stem)
        if split is not None and ("picture" in found.lists[file] or "photo" in found.lists[file]):
            chosen.setdefault(split[1].side, file)
    both = [file for file in order if PurePosixPath(file).stem.lower() == "trainval"]
    if both and not {"train", "validation"} & chosen.keys():
        chosen["train"] = both[0]
    return {side: chosen[side] for side in SIDES if side in chosen} if "train" in chosen else {}


def presets_for(found: Found, pairs: Pairs, presets: Mapping[str, Node]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Public sets that this is: a preset's name, and the words besides."""
    for name, node in presets.items():
        for root in _roots(found, pairs):
            if not _is_called(root, name, node) and not _has_own_names(node):
                continue
            keys = _read_by(root, node, pairs)
            if keys is not None and _fits(pairs.labels, {**node, **keys}):
                yield name, {"root": root, **keys}
                break


def classes_like(labels: Labels, presets: Mapping[str, Node], found: Found) -> tuple[str, dict[str, Any], bool] | None:
    """A preset whose classes the maps have, wherever their files lie, the words by which, and whether that is sure: the
    one by whose name the folder is called, the first whose numbers have the gaps that the maps have, or the first that
    knows all of several colours.

    Black, white and the six pure colours are everybody's, and say no more than that it may be.
    """
    called = [name for name, node in presets.items() if _is_called(found.root, name, node)]
    for name in called:
        for keys in _codes(presets[name]):
            if _fits(labels, {**presets[name], **keys}):
                return name, keys, True
    for name, node in presets.items():
        if _fits(labels, node) and _has_its_gaps(labels, node):
            return name, {}, True
    if len(labels.colours) >= ENOUGH_COLOURS:
        pure = all(min(part, 255 - part) <= SLIGHT for colour, _ in labels.colours for part in colour)
        of_colours = {name: node for name, node in presets.items() if node.get("colours") and _fits(labels, node)}
        exact = [name for name, node in of_colours.items() if pure or not any("-" in key for key in node["colours"])]
        return next(((name, {}, not pure) for name in exact), None)
    return None


def called_as(found: Found, presets: Mapping[str, Node]) -> Iterator[str]:
    """What to say of a folder that has a public set's name and does not lie as that is published."""
    names = [name for name, node in presets.items() if _is_called(found.root, name, node)]
    if names:
        files = " and ".join(f"conf/data/{name}.yaml" for name in names[:2])
        yield (
            f"its name is that of the public set {' or '.join(names[:2])}, but it does not lie as that is read: the "
            f"head of {files} says how it is published, and what must be converted"
        )


def _codes(node: Node) -> Iterator[dict[str, Any]]:
    """As the maps are published, and as mmsegmentation's converters leave those of colours: 0 is none, 1 class 0."""
    yield {}
    if node.get("colours"):
        yield {"colours": None, "reduce_zero_label": True}


def _has_its_gaps(labels: Labels, node: Node) -> bool:
    """Whether maps in which the preset's numbers have a meaning hold so many that none in its gaps is no chance."""
    coding = _coding(node) if node.get("values") and not labels.colours else None
    if coding is None or coding.brightness or coding.wide:  # of two tones, or of numbers above 255
        return False
    accepted = coding.reading.table().accepted
    seen = {
        value for value in labels.shares() if value not in (node["ignore_index"], *(node.get("ignore_values") or ()))
    }
    top = max(seen, default=0)
    gaps = [value for value in range(top) if not accepted[value]]
    return bool(gaps) and bool((1 - len(seen) / (top + 1)) ** len(gaps) < CHANCE)


def _coding(node: Node) -> Coding:
    """ValueError where it makes no sense."""
    return coding_of(
        num_classes=node["num_classes"],
        names=node.get("classes") if not isinstance(node.get("classes"), str) else None,
        ignore_index=node["ignore_index"],
        ignore_values=node.get("ignore_values") or (),
        reduce_zero_label=bool(node.get("reduce_zero_label")),
        values=node.get("values"),
        colours=node.get("colours"),
    )


def _fits(labels: Labels, node: Node) -> bool:
    """Whether what the maps hold has a meaning in the preset."""
    try:
        coding = _coding(node)
    except ValueError:
        return False
    if coding.colours:
        return bool(labels.colours) and all(
            any(_lies_in(colour, box) for box, _ in coding.colours) for colour, _ in labels.colours
        )
    shares = labels.shares()
    if coding.wide:
        return bool(shares) and all(any(low <= value <= high for (low, high), _ in coding.wide) for value in shares)
    accepted = coding.reading.table().accepted
    return bool(coding.brightness) or (bool(shares) and all(value < 256 and accepted[value] for value in shares))


def _lies_in(colour: tuple[int, int, int], box: Box) -> bool:
    return all(low <= band <= high for band, (low, high) in zip(colour, box, strict=True))


def _read_by(root: Path, node: Node, pairs: Pairs) -> dict[str, Any] | None:
    """The words besides the root with which a preset reads what lies there; None: it does not."""
    named = {split.side: split.name for split in pairs.counts if split.side}
    other: dict[str, Any] = {}
    if _CONVERTED in pairs.maps.suffix and _CONVERTED not in str(node.get("map_suffix")):  # classes already
        other = {"map_suffix": f"{pairs.maps.suffix}{pairs.maps.endings[0]}", "values": None}
    tries: list[dict[str, Any]] = [other]
    if named and len(named) == 1:  # a part of the set: its one split is for both
        tries.append({**other, "splits": splits_of(named)})
    for keys in tries:
        places: dict[str, Any] = {key: keys.get(key, node.get(key)) for key in _PLACES}
        try:
            layout = layout_of(root, **places)
            for side, part in parts_of(layout).items():
                refuse_defects(part, side, layout)
        except (UserError, ValueError):
            continue
        return keys
    return None


def _roots(found: Found, pairs: Pairs) -> Iterator[Path]:
    fixed = re.split(r"/?(?:[^/]*\{split\}|[^/]*\*)", pairs.images.folder)[0]
    parts = [part for part in fixed.split("/") if part]
    yield found.root
    for count in range(1, len(parts) + 1):
        yield found.root / "/".join(parts[:count])


def _is_called(root: Path, name: str, node: Node) -> bool:
    """Whether the folder has the preset's name, or that of its published folder, as people write them ("CamVid",
    "VOC2012", "coco-stuff")."""
    words = {re.sub(r"[^a-z0-9]", "", each.lower()) for each in (name, str(node.get("root")).rpartition("/")[2])}
    for part in root.absolute().parts[-2:]:
        tokens = re.split(r"[^a-z0-9]+", part.lower())
        whole = "".join(tokens)
        for word in words:
            if word == whole or word in tokens or (len(word) > DISTINCT and word in whole):
                return True
            if len(whole) > DISTINCT and whole in word:
                return True
    return False


def _has_own_names(node: Node) -> bool:
    """Whether suffixes or the folder of the maps are called as no other set's."""
    suffixes = (str(node.get(key) or "") for key in ("image_suffix", "map_suffix"))
    folders = (part for part in str(node.get("maps") or "").split("/") if "{" not in part)
    return any(len(each) > DISTINCT + 4 for each in suffixes) or any(len(each) > LONG for each in folders)
