"""What to type for what was found, with the data options that there are: the one place that knows their layouts.

A layout that none of them reads is said as such.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mae_hydra.data.decoding.bands import PHOTOGRAPHS
from mae_hydra.data.listing import ARRAYS
from mae_hydra.data.looking.classification_words import classification_words
from mae_hydra.data.looking.found import Found, Pairs, Part, Split
from mae_hydra.data.looking.label_words import label_words
from mae_hydra.data.looking.readings import meaning, readings_for, why_none, words_of
from mae_hydra.data.looking.segmentation_words import (
    USUAL,
    Node,
    called_as,
    classes_like,
    place_words,
    presets_for,
    said_of,
    splits_of,
)

MOST_OF_8_BITS = 255
SEEN = 2  # ways before that of another reading, which is named with them
LARGEST = 256  # crops of the small model that is proposed
STEP = 32  # of the sides of crops
_USUAL = 224
_PRETRAINED = "mae_vitt"
_ADE20K = {"training", "validation"}
_SHOWN = {12: [4, 3, 2], 13: [4, 3, 2]}  # of Sentinel-2
_CLASSES = {"train": "train", "validation": "val"}


@dataclass(frozen=True)
class Way:
    """`python train.py model=<model> data=<data> <words>`, with `keys` of the data node.

    `means`: how it differs from the other ways. `known`: it stands on the set's being a public one.
    `measured`: the means and deviations among the keys are to be measured.
    """

    model: str
    data: str
    keys: Mapping[str, Any]
    means: str = ""
    words: tuple[str, ...] = ()
    known: bool = False
    measured: bool = False


@dataclass(frozen=True)
class Advice:
    """`ways`: what can be typed, the best first. `said`: what to know before, in sentences. `alone`: pre-training on
    the photos that have class maps."""

    ways: tuple[Way, ...] = ()
    said: tuple[str, ...] = ()
    alone: Way | None = None


def advise(found: Found, presets: Mapping[str, Node] | None = None) -> Advice:
    """What today's options make of it; `presets`: the data nodes of the public sets that are known by name."""
    advice = _advised(found, presets)
    if found.otherwise is not None:
        ways, other = advice.ways, _advised(found.otherwise, presets).ways[:1]
        advice = replace(advice, ways=(*ways[:SEEN], *other, *ways[SEEN:]))
    if not any(way.known or way.data == "ade20k" for way in advice.ways):
        advice = replace(advice, said=(*advice.said, *called_as(found, presets or {})))
    part = found.pairs.images if found.pairs is not None else next(iter(found.photos), None)
    words = {} if part is None else band_words(part)

    def with_bands(way: Way) -> Way:
        return replace(way, keys={**way.keys, **words}, measured=bool(words))

    alone = _photos_alone(found, found.pairs, advice.ways[0]) if found.pairs and advice.ways else None
    return replace(advice, ways=tuple(map(with_bands, advice.ways)), alone=alone and with_bands(alone))


def _photos_alone(found: Found, pairs: Pairs, best: Way) -> Way | None:
    """Pre-training on what the best way reads, where that has class maps."""
    if best.model == _PRETRAINED:
        return None
    if best.data == "ade20k":
        return next(_photos(found), None)
    places = {key: best.keys[key] for key in ("root", "images", "image_suffix", "splits", "lists") if key in best.keys}
    keys = {**places, "maps": None, "image_size": _crop(pairs.images, _USUAL)}
    return Way(_PRETRAINED, best.data, keys, known=best.known)


def band_words(part: Part) -> dict[str, Any]:
    """The words for pictures that are no photographs, their bands' means and deviations yet to be measured."""
    bands = part.pixels.bands
    if len(bands) != 1 or not _own_bands(part):
        return {}
    count = bands[0]
    named = {"bands": list(range(1, count + 1))} if count in PHOTOGRAPHS else {}
    shown = {"shown_bands": _SHOWN[count]} if count in _SHOWN else {}
    return {"channels": count, **named, **shown, "mean": [0.5] * count, "std": [0.25] * count}


def _own_bands(part: Part) -> bool:
    """Whether the bands are wanted as they are stored: more than a photograph has, where a fourth of 8 bits may be
    opacity; arrays are read in no other way."""
    if not set(part.endings).isdisjoint(ARRAYS):
        return True
    most, bits = max(part.pixels.bands, default=0), max(part.pixels.bits, default=0)
    return most > 4 or most == 2 or (most == 4 and bits > 8)


def _advised(found: Found, presets: Mapping[str, Node] | None = None) -> Advice:
    if found.kind == "shards":
        return _shards(found)
    if found.kind == "tables":
        return _tables(found)
    if found.pairs is not None:
        advice = _maps(found, found.pairs, presets or {})
        return replace(advice, said=(*advice.said, *_of_bands(found.pairs.images)))
    if found.photos and (found.classes or found.class_lists):
        return _with_classes(found)
    if found.photos:
        alone = sum(part.total for part in found.maps)
        said = [f"{alone} class maps lie there that pair with no photo by their names"] if alone else []
        if any(part.folder.endswith("{split}/*") for part in found.photos) and len(found.photos) > 1:
            said.append(
                "a part lies in class folders and a part not; data=imagenet reads train/<class>/ and val/<class>/"
            )
        return Advice(tuple(_photos(found)), (*said, *_of_bands(found.photos[0]), *_why_no_photos(found)))
    return Advice()


def _maps(found: Found, pairs: Pairs, presets: Mapping[str, Node]) -> Advice:
    size = _crop(pairs.images, LARGEST)
    words = ("inference=slide",)  # which takes pictures of every size
    model = "upernet_vitt"
    meanings = label_words(pairs.labels, found)
    known = [
        Way(model, name, {**keys, "image_size": size}, f"the public set {name}", words, known=True)
        for name, keys in presets_for(found, pairs, presets)
    ]
    ade20k = _as_ade20k(found, pairs)
    if ade20k is not None and max(pairs.labels.shares(), default=0) <= MOST_OF_8_BITS:
        readings = readings_for(pairs.labels, found)
        own = [
            Way(model, "ade20k", {"root": ade20k, **words_of(each), "image_size": size}, meaning(each), words)
            for each in readings
        ]
        said = [] if own else [why_none(pairs.labels)]
        return Advice((*own, *known) or tuple(_photos(found)), tuple(said))
    place = place_words(found, pairs)
    maybe: list[Way] = []
    if not known and (like := classes_like(pairs.labels, presets, found)) is not None:
        name, codes, sure = like
        keys = {"root": found.root, **_over(place, presets[name]), **codes, "image_size": size}
        (known if sure else maybe).append(
            Way(model, name, keys, f"the classes of the public set {name}", words, known=True)
        )
    own = [
        Way(model, "segmentation", {"root": found.root, **place, **keys, "image_size": size}, means, words)
        for keys, means in meanings
    ]
    said = list(said_of(found, pairs, place)) if own else [why_none(pairs.labels)]
    return Advice((*known, *own, *maybe) or tuple(_photos(found)), tuple(said))


def _over(place: Mapping[str, Any], preset: Node) -> dict[str, Any]:
    """The words of a place that a preset does not have, and null for what it says of another."""
    wanted = {key: place.get(key) for key in ("images", "maps", "image_suffix", "map_suffix", "lists")}
    if any("{split}" in str(value) for value in wanted.values()):
        wanted["splits"] = place.get("splits", dict(USUAL))
    return {key: value for key, value in wanted.items() if preset.get(key) != value}


def _as_ade20k(found: Found, pairs: Pairs) -> Path | None:
    """The root for `data=ade20k`, where files lie as ADE20K's."""
    images, maps = pairs.images, pairs.maps
    ends = ("images/{split}", "annotations/{split}")
    above = [part.folder.removesuffix(end) for part, end in zip((images, maps), ends, strict=True)]
    as_it_is = all(part.folder.endswith(end) for part, end in zip((images, maps), ends, strict=True))
    names = {split.name for split in _sides(pairs.counts).values()}
    alone = sum(pairs.images_alone.values()) + sum(pairs.maps_alone.values())
    plain = not images.suffix and not maps.suffix and not alone
    return found.root / above[0] if as_it_is and plain and above[0] == above[1] and names == _ADE20K else None


def _sides(counts: Mapping[Split, int]) -> dict[str, Split]:
    """The splits to train and validate with; the test split where there is no other for the latter."""
    found: dict[str, Split] = {}
    for split in counts:
        found.setdefault(split.side, split)
    if "validation" not in found and "test" in found:
        found["validation"] = found["test"]
    return {side: found[side] for side in ("train", "validation") if side in found}


def _with_classes(found: Found) -> Advice:
    """Photos in class folders, or with lists that tell their classes; behind it the photos alone."""
    part = next((part for part in found.photos if "*" in part.folder), found.photos[0])
    base = part.folder.partition("*")[0].rstrip("/") if found.classes else _above(found.photos)
    size = _crop(part, _USUAL)
    sides = {split.side: split.name for split in found.classes if split.side}
    if sides == _CLASSES and base.rpartition("/")[2] == "{split}" and part.folder == f"{base}/*":
        root = found.root / base.removesuffix("{split}")
        keys = {"root": root, "num_classes": len(_of_training(found)), "image_size": size}
        return Advice((Way("classifier_vitt", "imagenet", keys, "photos of classes"),))
    keys, said = classification_words(found, base)
    folders = _of_training(found)
    own = Way(
        "classifier_vitt", "classification", {"root": found.root, **keys, "image_size": size}, "photos of classes"
    )
    if not sides and found.classes and all(re.fullmatch(r"n\d{8}", name) for name in folders):
        said = (
            *said,
            "they are named as ImageNet's classes, to evaluate on: mae-hydra evaluate <run or file> "
            f"data=imagenet_variant data.root={found.root / base} data.classes=<ImageNet>/val",
        )
    alone = [replace(way, means="the photos alone") for way in _photos(found)]
    if keys["num_classes"] == 1 and alone:  # nothing to tell apart
        return Advice(tuple(alone), tuple(_of_bands(part)))
    numbered = {re.sub(r"\d+", "", name) for name in folders}
    series = not sides and len(folders) > 1 and len(numbered) == 1 and numbered != {""}  # "day 1", "2026-11"
    return Advice((*alone, own) if series else (own, *alone), (*said, *_of_bands(part)))


def _of_training(found: Found) -> tuple[str, ...]:
    """The class folders of training, or of whatever split comes first."""
    return next(iter(found.classes.values()), ())


def _above(parts: Sequence[Part]) -> str:
    """The folder that all of them lie in, without what stands for several."""
    folders = [re.split(r"/?[^/]*\*", part.folder)[0].split("/") for part in parts]
    shared = [names[0] for names in zip(*folders, strict=False) if len(set(names)) == 1]
    return "/".join(shared)


def _shards(found: Found) -> Advice:
    part = found.photos[0]
    root = found.root
    if any("unpack it" in note for note in found.notes) or not part.pixels.readable:
        return Advice((), tuple(note for note in found.notes if "unpack it" in note))
    keys: dict[str, Any] = {"root": root}
    if found.image_suffix:
        keys["image_suffix"] = found.image_suffix
    keys["image_size"] = _crop(part, _USUAL)
    photos = Way(_PRETRAINED, "shards", keys, "without classes")
    count = max(len(found.names), found.num_classes)
    if found.map_labels is not None:
        keys = {**keys, "map_ending": found.map_ending, "image_size": _crop(part, LARGEST)}
        ways = [
            Way("upernet_vitt", "shards", {**keys, **words}, means, ("inference=slide",))
            for words, means in label_words(found.map_labels, found)
        ]
        return Advice((*ways, photos), () if ways else (why_none(found.map_labels),))
    if not found.num_classes:
        return Advice((photos,))
    if not found.complete and not found.names:
        return Advice(
            (photos,),
            (f"class ids up to {count - 1} were seen in the part that was read; that may not be all",),
        )
    return Advice((Way("classifier_vitt", "shards", {**keys, "num_classes": count}, f"{count} classes"), photos))


def _tables(found: Found) -> Advice:
    if not found.photos:
        return Advice()
    part = found.photos[0]
    keys: dict[str, Any] = {"path": found.root}
    size = {"image_size": _crop(part, LARGEST)}
    mask = {"mask": found.map_ending} if found.map_ending else {}
    ways = [Way(_PRETRAINED, "huggingface", {**keys, **mask, "image_size": _crop(part, _USUAL)}, "without classes")]
    if found.num_classes:
        of_classes = {**keys, "num_classes": found.num_classes, "image_size": _crop(part, _USUAL)}
        ways.insert(0, Way("classifier_vitt", "huggingface", of_classes, f"{found.num_classes} classes"))
    if found.map_labels is not None:
        words = label_words(found.map_labels, found)
        ways[:0] = [
            Way("upernet_vitt", "huggingface", {**keys, **mask, **each, **size}, means, ("inference=slide",))
            for each, means in words
        ]
    return Advice(tuple(ways))


def _photos(found: Found) -> Iterator[Way]:
    """Pre-training on the photos alone, where a folder holds them and no class maps."""
    part = found.pairs.images if found.pairs else found.photos[0]
    if not part.pixels.readable or part.pixels.failed:
        return
    fixed = re.split(r"\{split\}|[^/]*\*", part.folder)[0]
    above = fixed if fixed == part.folder else fixed.rpartition("/")[0]
    folders = [above, *(part.folders[split] for split in part.folders if split.side == "train")]
    for folder in folders:
        if not any(_lies_in(each, folder) for each in found.maps):
            yield Way(_PRETRAINED, "folder", {"root": found.root / folder, "image_size": _crop(part, _USUAL)})
            return
    beside = {ending for each in found.maps if each.folder == part.folder for ending in each.endings}
    if beside.isdisjoint(part.endings) or part.suffix:
        yield _by_the_general_reader(found.root, part)


def _by_the_general_reader(root: Path, part: Part) -> Way:
    """Photos that lie among others."""
    suffix = part.suffix or (part.endings[0] if len(part.endings) == 1 else None)
    named = {split.side: split.name for split in part.counts if split.side}
    keys: dict[str, Any] = {"root": root, "images": part.folder or ".", "maps": None}
    keys |= {"image_suffix": suffix} if suffix else {}
    keys |= {"splits": splits_of(named)} if named and splits_of(named) != USUAL else {}
    return Way(_PRETRAINED, "segmentation", {**keys, "image_size": _crop(part, _USUAL)})


def _lies_in(part: Part, folder: str) -> bool:
    """Whether some of its files may be below `folder`."""
    places = list(part.folders.values()) or [re.split(r"\{split\}|\*", part.folder)[0]]
    return any(not folder or f"{place}/".startswith(f"{folder.rstrip('/')}/") for place in places)


def _why_no_photos(found: Found) -> Iterator[str]:
    pixels = found.photos[0].pixels
    if pixels.failed:
        yield f"a picture cannot be read: {pixels.failed}"


def _of_bands(part: Part) -> Iterator[str]:
    """Bands that get lost: a fourth of 8 bits may be opacity, or infrared."""
    most = max(part.pixels.bands, default=0)
    if most > 3 and not _own_bands(part) and part.pixels.readable and part.endings[0] in (".tif", ".tiff"):
        yield f"of the {most} bands of a photo the first three are read; all of them with data.channels={most}"


def _crop(part: Part, most: int) -> int:
    """A side for crops: `most`, or what the shorter side of a usual picture has room for."""
    short = min(part.pixels.sizes[1]) if part.pixels.sizes else most
    return max(min(most, short // STEP * STEP), STEP)
