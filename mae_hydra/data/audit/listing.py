"""Which files a data set consists of, and all that is wrong with their names and folders.

The readers of this room stop at the first defect, as training must; here every one becomes a finding and the rest is
still looked at.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mae_hydra.data.audit.look import FileSplit, SampleSplit, Split
from mae_hydra.data.dataset import ImageData
from mae_hydra.data.decoding.bands import Channels, endings_of
from mae_hydra.data.decoding.measure_range import settle_files
from mae_hydra.data.decoding.pixel_range import AUTO, PixelRange, Told
from mae_hydra.data.label_table import Reading
from mae_hydra.data.labels.maps import MAP_EXTENSIONS
from mae_hydra.data.labels.palette import distinct_colours
from mae_hydra.data.labels.recognise import label_like_note
from mae_hydra.data.listing import EXTENSIONS, UNREAD_PICTURES, find_images
from mae_hydra.data.readers.ade20k import CLASSES_FILE, find_maps, read_classes, shared_stems, stem_of
from mae_hydra.data.readers.folder import split_by_name
from mae_hydra.errors import UserError

Level = Literal["error", "warning", "note"]
EVERY_FILE = ("",)  # what every name ends with


@dataclass(frozen=True)
class Finding:
    """Something to know about a data set before training on it.

    `level`: "error" stops training or teaches it something wrong, "warning" deserves a look, "note" is good to know.
    `kind`: stable name of the defect. `sentence`: what, how many, one example, the way out. `files`: all it concerns.
    """

    level: Level
    kind: str
    sentence: str
    files: tuple[str, ...] = ()


@dataclass
class Listing:
    """The splits of a data set and what their listing found; `named`: the data itself names its classes."""

    splits: dict[str, Split]
    findings: list[Finding] = field(default_factory=list)
    num_classes: int = 0
    named: bool = False
    class_names: tuple[str, ...] = ()
    reading: Reading | None = None  # where other keys than those of data=ade20k say it
    palette: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.uint8))


def list_ade20k(root: Path, *, channels: Channels, num_classes: int, range: Told = AUTO) -> Listing:
    """images/{training,validation}/* and annotations/{training,validation}/*; see `mae_hydra.data.ade20k`."""
    listing = Listing({}, named=(root / CLASSES_FILE).exists())
    try:
        listing.class_names, listing.palette = read_classes(root, num_classes)
        listing.num_classes = num_classes
    except UserError as error:
        listing.findings.append(Finding("error", "classes", str(error), (CLASSES_FILE,)))
        _classes_of_the_file(root, num_classes, listing)
    places = [(f"images/{split}", f"annotations/{split}") for split in ("training", "validation")]
    listing.findings += _missing_folders(root, [folder for pair in places for folder in pair])
    pixel_range = settled_range(
        listing, range, channels, root / places[0][0], _below(root, places[0][0], endings_of(channels))
    )
    for split, folders in zip(("training", "validation"), places, strict=True):
        images = _below(root, folders[0], endings_of(channels))
        names = find_maps(root / folders[1]) if (root / folders[1]).is_dir() else []
        maps = {stem_of(name): name for name in names}
        listing.findings += _pairs(root, split, images, maps)
        if twice := shared_stems(names):
            says, way = "named alike but for the ending", "keep the one with the class numbers"
            files = [name for alike in twice for name in alike]
            listing.findings.append(_listed("error", "one name twice", folders[1], files, says, way, noun="class map"))
        listing.findings += _ignored(root, folders[0], images)
        listing.findings += _ignored(root, folders[1], names)
        paths = [f"{folders[1]}/{maps[stem_of(name)]}" if stem_of(name) in maps else "" for name in images]
        listing.splits[split] = FileSplit(
            root, [f"{folders[0]}/{name}" for name in images], channels, maps=paths, pixel_range=pixel_range
        )
    return listing


def list_imagenet(root: Path, *, channels: Channels, num_classes: int, range: Told = AUTO) -> Listing:
    """train/<class>/* and val/<class>/*; see `mae_hydra.data.imagenet`."""
    listing = Listing({})
    listing.findings += _missing_folders(root, ("train", "val"))
    found = {split: _below(root, split, endings_of(channels)) for split in ("train", "val")}
    classes = sorted({_class_of(name) for name in found["train"] if "/" in name})
    ids = {name: number for number, name in enumerate(classes)}
    if found["train"] and len(classes) != num_classes:
        sentence = (
            f"train/ holds {len(classes)} class folders with images but data.num_classes is {num_classes}; "
            f"set data.num_classes={len(classes)}"
        )
        listing.findings.append(Finding("error", "number of classes", sentence))
    listing.num_classes, listing.class_names = len(classes), tuple(classes)
    listing.palette = distinct_colours(len(classes))
    pixel_range = settled_range(listing, range, channels, root / "train", found["train"])
    for split, images in found.items():
        flat = [name for name in images if "/" not in name]
        unknown = [name for name in images if "/" in name and _class_of(name) not in ids]
        if flat:
            way = f"move into the folder of its class, {split}/<class>/{flat[0]}"
            listing.findings.append(_listed("error", "no class folder", split, flat, "outside any class folder", way))
        if unknown:
            folders = sorted({_class_of(name) for name in unknown})
            close = difflib.get_close_matches(folders[0], classes, n=1)
            way = "both splits must name their classes alike" + (f" ({close[0]}?)" if close else "")
            says = f"in {_many(len(folders), 'class folder')} that train/ does not have"
            listing.findings.append(_listed("error", "unknown class", split, unknown, says, way))
        listing.findings += _ignored(root, split, images)
        listing.findings += _empty_folders(root, split, images)
        class_ids = np.array([ids.get(_class_of(name), -1) for name in images], dtype=np.int64)
        paths = [f"{split}/{name}" for name in images]
        listing.splits[split] = FileSplit(root, paths, channels, class_ids=class_ids, pixel_range=pixel_range)
    return listing


def list_folder(root: Path, *, channels: Channels, validation_fraction: float, range: Told = AUTO) -> Listing:
    """Every photo below `root`; see `mae_hydra.data.folder`."""
    listing = Listing({})
    images = _below(root, "", endings_of(channels))
    if not images:
        sentence = f"there is no photo in {root} ({' '.join(EXTENSIONS)} are read); give another folder with data.root="
        listing.findings.append(Finding("error", "no images", sentence))
    listing.findings += _ignored(root, "", images)
    listing.findings += [_told("label maps", note) for note in label_like_note(root, images)]
    train, validation = split_by_name(images, validation_fraction) if images else ([], [])
    pixel_range = settled_range(listing, range, channels, root, train)
    listing.splits = {
        "training": FileSplit(root, train, channels, pixel_range=pixel_range),
        "validation": FileSplit(root, validation if len(images) > 1 else [], channels, pixel_range=pixel_range),
    }
    return listing


def list_samples(data: ImageData) -> Listing:
    """Whatever else gives samples: shards, rendered scenes, or a reader that is not of this package."""
    return Listing(
        {"training": SampleSplit(data.train), "validation": SampleSplit(data.validation)},
        findings=[_told("reader", note) for note in data.notes],
        num_classes=data.num_classes,
        class_names=data.class_names,
        palette=data.palette,
    )


def settled_range(
    listing: Listing, told: Told, channels: Channels, root: Path, train: Sequence[str]
) -> PixelRange | None:
    """As the reader settles it; what is to be said becomes findings."""
    settled = settle_files(told, channels, root, train)
    listing.findings += [_told("range", note) for note in settled.notes]
    return settled.pixel_range


def _told(kind: str, note: str) -> Finding:
    """A reader's line, "warning: ...", as a finding."""
    level, _, sentence = note.partition(": ")
    return Finding("warning" if level == "warning" else "note", kind, sentence)


def _classes_of_the_file(root: Path, num_classes: int, listing: Listing) -> None:
    """Where `classes.json` disagrees with the configuration, the data is judged by the file; where broken, without."""
    for count in range(1, 256):
        try:
            listing.class_names, listing.palette = read_classes(root, count)
        except UserError:
            continue
        listing.num_classes = count
        return
    listing.class_names = tuple(f"class {number}" for number in range(num_classes))
    listing.palette, listing.num_classes = distinct_colours(num_classes), num_classes


def _below(root: Path, folder: str, extensions: tuple[str, ...]) -> list[str]:
    return find_images(root / folder, extensions) if (root / folder).is_dir() else []


def _missing_folders(root: Path, folders: Sequence[str]) -> Iterator[Finding]:
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        parent = (root / missing[0]).parent
        parent = parent if parent.is_dir() else root
        there = sorted(f"{path.relative_to(root)}/" for path in parent.iterdir() if path.is_dir())
        instead = f" (there is {', '.join(there[:5])})" if there else ""
        names = " and no ".join(f"{folder}/" for folder in missing)
        sentence = f"there is no {names} in {root}{instead}; rename or link the folders, or correct data.root"
        yield Finding("error", "missing folder", sentence, tuple(missing))
    for folder in folders:
        if folder not in missing and not find_images(root / folder):
            sentence = f"there is no image in {folder}/; fill it, or correct data.root"
            yield Finding("error", "no images", sentence, (folder,))


def _pairs(root: Path, split: str, images: Sequence[str], maps: dict[str, str]) -> Iterator[Finding]:
    stems: dict[str, list[str]] = {}
    for name in images:
        stems.setdefault(stem_of(name), []).append(name)
    where = f"images/{split}", f"annotations/{split}"
    alone = [name for name in images if stem_of(name) not in maps]
    if alone and (root / where[1]).is_dir():
        way = "add the map or remove the image"
        says = f"without a class map of the same name in {where[1]}/"
        yield _listed("error", "image without class map", where[0], alone, says, way)
    orphans = [name for stem, name in maps.items() if stem not in stems]
    if orphans and (root / where[0]).is_dir():
        way = "add the image or remove the map"
        says = f"without an image of the same name in {where[0]}/"
        yield _listed("error", "class map without image", where[1], orphans, says, way, noun="class map")
    twice = [name for names in stems.values() if len(names) > 1 for name in names]
    if twice:
        says = "named alike but for the ending, so that they share a class map"
        yield _listed("error", "one name twice", where[0], twice, says, "keep the one of the map")


def _ignored(root: Path, folder: str, read: Sequence[str]) -> Iterator[Finding]:
    """Files that no reader will open, though somebody may count on them."""
    known = set(read)
    others = [name for name in _below(root, folder, EVERY_FILE) if name not in known]
    if not folder:
        folder = "."
    pictures = [name for name in others if name.lower().endswith((*UNREAD_PICTURES, *EXTENSIONS))]
    if pictures:
        accepted = f"{' '.join(MAP_EXTENSIONS if folder.startswith('annotations') else EXTENSIONS)} are read"
        says, way = "in a format that is not read", f"convert ({accepted})"
        yield _listed("warning", "unread pictures", folder, pictures, says, way, noun="picture")
    if len(others) > len(pictures):
        rest = [name for name in others if name not in set(pictures)]
        says = "of other kinds, which are ignored"
        yield _listed("note", "ignored files", folder, rest, says, "nothing needs to be done", noun="file")


def _empty_folders(root: Path, split: str, images: Sequence[str]) -> Iterator[Finding]:
    used = {_class_of(name) for name in images}
    there = sorted(path.name for path in (root / split).iterdir()) if (root / split).is_dir() else []
    empty = [name for name in there if not name.startswith(".") and (root / split / name).is_dir() and name not in used]
    if empty:
        way = "add images or remove the folder"
        yield _listed("warning", "empty class folder", split, empty, "without an image", way, noun="class folder")


def _class_of(name: str) -> str:
    return name.split("/", 1)[0]


def _listed(
    level: Level, kind: str, folder: str, names: Sequence[str], says: str, way: str, *, noun: str = "image"
) -> Finding:
    paths = tuple(name if folder == "." else f"{folder}/{name}" for name in names)
    return found(level, kind, paths, says, way, noun=noun)


def found(
    level: Level, kind: str, files: Sequence[str], says: str, way: str, *, noun: str = "image", why: str = ""
) -> Finding:
    """A finding about `files`: "3 images cannot be read, a.jpg for one (the file is empty); replace them"."""
    example = files[0] if len(files) == 1 else f"{files[0]} for one"
    reason = f" ({why})" if why else ""
    return Finding(level, kind, f"{_many(len(files), noun)} {says}: {example}{reason}; {way}", tuple(files))


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
