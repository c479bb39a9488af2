"""`data=ade20k`: photos with class maps in the layout of ADEChallengeData2016.

    images/{training,validation}/NAME.jpg    annotations/{training,validation}/NAME.png    [classes.json]

Endings are read in any spelling, and maps may be .tif, .gif or .bmp too where their values are clear (`label_maps`).

`classes.json` is what `mae-hydra make-data` adds: {"names": [...], "palette": [[r, g, b], ...]}. Without it, a set of
150 classes is taken for ADE20K itself.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_hydra.data.dataset import ImageData
from mae_hydra.data.decoding.bands import Channels, endings_of
from mae_hydra.data.label_table import Reading, Values
from mae_hydra.data.labels.coding import Coding
from mae_hydra.data.labels.maps import MAP_EXTENSIONS
from mae_hydra.data.labels.palette import distinct_colours
from mae_hydra.data.listing import EXTENSIONS, existing_folder, find_images, passed_over_note
from mae_hydra.data.readers.ade20k_names import ADE20K_NAMES
from mae_hydra.data.readers.class_list import CLASSES_FILE
from mae_hydra.data.readers.labelled_photos import LabelledPhotos
from mae_hydra.data.settings import FileSettings, data_factory
from mae_hydra.errors import UserError

_WANTED = (
    "expected is the layout of ADEChallengeData2016, images/{training,validation}/*.jpg with "
    "annotations/{training,validation}/*.png: give their parent with data.root=<folder>. Without any files use "
    "data=scenes, or a small set in this layout: `mae-hydra make-data` writes one and says how to train on it"
)


def photos_of(root: Path, split: str, channels: Channels, coding: Coding) -> tuple[LabelledPhotos, Counter[str]]:
    """The photos of a split with their class maps, and by ending the files among the photos that are not read."""
    images_dir, maps_dir = root / "images" / split, root / "annotations" / split
    for place in (images_dir, maps_dir):
        if not place.is_dir():
            raise UserError(f"there is no folder {place}; {_WANTED}")
    passed_over: Counter[str] = Counter()
    images, maps = find_images(images_dir, endings_of(channels), passed_over), find_maps(maps_dir)
    if not images:
        raise UserError(f"there is no image in {images_dir}; {_WANTED}")
    _check_pairs(images_dir, images, maps_dir, maps)
    map_of = {stem_of(name): name for name in maps}
    names = [map_of[stem_of(name)] for name in images]
    titles = [stem_of(name) for name in images]
    return LabelledPhotos(images_dir, images, maps_dir, names, titles, channels, coding), passed_over


def _check_pairs(images_dir: Path, images: Sequence[str], maps_dir: Path, maps: Sequence[str]) -> None:
    stems = {stem_of(name) for name in images}
    for found, others, has, lacks, where in (
        (images, {stem_of(name) for name in maps}, "image", "class map", maps_dir),
        (maps, stems, "class map", "image", images_dir),
    ):
        alone = [name for name in found if stem_of(name) not in others]
        if alone:
            raise UserError(
                f"{len(alone)} of {len(found)} {has}s have no {lacks} of the same name in {where}, "
                f"{alone[0]} for one; add the missing {lacks} or remove the {has}"
            )
    for found, noun, folder in ((images, "images", images_dir), (maps, "class maps", maps_dir)):
        if twice := shared_stems(found):
            raise UserError(
                f"{folder} holds two {noun} of one name with different endings, {' and '.join(twice[0])} for "
                "one; keep one of them"
            )


@data_factory
def ade20k(
    settings: FileSettings, *, root: str | None, reduce_zero_label: bool, values: Values | None = None
) -> ImageData:
    """ADE20K, or any other set in its layout; see `LabelTable` for `reduce_zero_label` and `values`."""
    channels, num_classes = settings.wanted, settings.num_classes
    path = existing_folder(root, _WANTED)
    reading = Reading(num_classes, settings.ignore_index, reduce_zero_label, values)
    reading.table()  # before any file is looked at
    found = {split: photos_of(path, split, channels, Coding(reading)) for split in ("training", "validation")}
    train, validation = (photos for photos, _ in found.values())
    settled = settings.settled(path / "images/training", train.names)
    train.pixel_range = validation.pixel_range = settled.pixel_range
    class_names, palette = read_classes(path, num_classes)
    return settings.image_data(
        train,
        validation,
        "map",
        class_names=class_names,
        palette=palette,
        reading=reading,
        assumed_names=not (path / CLASSES_FILE).exists(),
        pixel_range=settled.pixel_range,
        notes=(
            *(
                note
                for part, (_, passed_over) in found.items()
                for note in passed_over_note(f"{root}/images/{part}", passed_over)
            ),
            *settled.notes,
        ),
    )


def read_classes(root: Path, num_classes: int) -> tuple[tuple[str, ...], np.ndarray]:
    """(names, palette) of the classes: those of `classes.json`, ADE20K's own, or numbers and colours made up."""
    path = root / CLASSES_FILE
    if not path.exists():
        known = num_classes == len(ADE20K_NAMES)
        names = ADE20K_NAMES if known else tuple(f"class {number}" for number in range(num_classes))
        return names, distinct_colours(num_classes)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in content["names"])
        palette = np.array(content.get("palette", distinct_colours(len(names))), dtype=np.uint8)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(
            f'cannot read {path} ({error}); it should hold {{"names": [...], "palette": [[r, g, b], ...]}}'
        ) from error
    if len(names) != num_classes:
        raise UserError(
            f"{path} names {len(names)} classes and data.num_classes is {num_classes}; "
            f"set data.num_classes={len(names)}"
        )
    if palette.shape != (num_classes, 3):
        raise UserError(f"{path} must give one color [r, g, b] for each of {num_classes} names, got {palette.shape}")
    return names, palette


def find_maps(folder: Path) -> list[str]:
    """The class maps below `folder`; a picture of another kind only where it is the one of its name, to be refused by
    what it is."""
    maps = find_images(folder, MAP_EXTENSIONS)
    stems = {stem_of(name) for name in maps}
    return sorted([*maps, *(name for name in find_images(folder, EXTENSIONS) if stem_of(name) not in stems)])


def shared_stems(names: Sequence[str]) -> list[list[str]]:
    """The names that differ in their ending alone."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(stem_of(name), []).append(name)
    return [alike for alike in stems.values() if len(alike) > 1]


def stem_of(name: str) -> str:
    """What an image and its map have in common: the path without its ending."""
    return name.rsplit(".", 1)[0]
