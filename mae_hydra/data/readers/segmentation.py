"""`data=segmentation`: any photos with class maps, and the presets of public sets, which are values for it.

The room's parts: `pairs` (which files), `split_lists`, `class_list` (names and colours), `labels/coding` (what the maps
hold), `labelled_photos` (the samples).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_hydra.data.dataset import ImageData, ImageSet, spread
from mae_hydra.data.decoding.bands import Channels, endings_of
from mae_hydra.data.decoding.decode import read_bytes
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.label_table import ranges, readings_of
from mae_hydra.data.labels.coding import Coding, coding_of
from mae_hydra.data.listing import EXTENSIONS, existing_folder, passed_over_note
from mae_hydra.data.readers.class_list import class_list
from mae_hydra.data.readers.folder import Photos
from mae_hydra.data.readers.labelled_photos import LabelledPhotos
from mae_hydra.data.readers.layout import SIDES, SPLIT, Layout, Part
from mae_hydra.data.readers.map_settings import MapSettings
from mae_hydra.data.readers.pairs import parts_of
from mae_hydra.data.settings import data_factory
from mae_hydra.errors import UserError

_WANTED = "give the folder of the data set with data.root=<folder>"
GUESSED = 64  # class maps that are read where the number of classes is not told
LEAST_PAIRED = 0.5  # of the photos; with fewer the suffixes or folders are wrong rather than the photos unlabelled

Names = str | Sequence[str] | None


@data_factory
def segmentation(
    settings: MapSettings,
    *,
    root: str | None,
    images: Names,
    maps: Names,
    image_suffix: str | None,
    map_suffix: str | None,
    splits: Mapping[str, Names] | None,
    validation_fraction: float,
    lists: str | Mapping[str, Names] | None,
) -> ImageData:
    """Photos with class maps wherever they lie below `root`; `conf/data/segmentation.yaml` says what each key means.

    UserError names what is not there or does not fit. With `maps` null the photos alone, for pre-training.
    """
    channels = settings.wanted
    path = existing_folder(root, _WANTED)
    layout = layout_of(
        path,
        images=images,
        maps=maps,
        image_suffix=image_suffix,
        map_suffix=map_suffix,
        splits=splits,
        validation_fraction=validation_fraction,
        lists=lists,
        endings=endings_of(channels),
    )
    parts = parts_of(layout)
    for side, part in parts.items():
        refuse_defects(part, side, layout)
    measured = parts["train"] if parts["train"].images else parts["validation"]
    settled = settings.settled(path, measured.images)
    coding: Coding | None = None
    facts: dict[str, Any] = {"num_classes": 0, "class_names": (), "palette": np.zeros((0, 3), np.uint8)}
    if layout.maps:
        count = settings.num_classes or _number_of_classes(measured, layout, settings)
        maps_read = settings.maps(path, count)
        coding, facts = maps_read.coding, maps_read.facts
    train = samples_of(layout, parts["train"], channels, coding, settled.pixel_range)

    def test() -> ImageSet:
        part = parts_of(layout, ("test",)).get("test")
        if part is None:
            raise UserError("nothing says which photos are for testing: give data.splits.test, or data.lists.test")
        refuse_defects(part, "test", layout)
        return samples_of(layout, part, channels, coding, settled.pixel_range)

    return settings.image_data(
        train,
        samples_of(layout, parts["validation"], channels, coding, settled.pixel_range),
        "map" if coding else "none",
        test=test,
        **facts,
        pixel_range=settled.pixel_range,
        notes=(
            *(note for side, part in parts.items() for note in notes_of(part, side, root)),
            *shared_note(parts),
            *settled.notes,
        ),
    )


def layout_of(
    root: Path,
    *,
    images: Names,
    maps: Names,
    image_suffix: str | None,
    map_suffix: str | None,
    splits: Mapping[str, Names] | None,
    validation_fraction: float,
    lists: str | Mapping[str, Names] | None,
    columns: Sequence[int | str] = (0, 1),
    endings: tuple[str, ...] = EXTENSIONS,
) -> Layout:
    """Where the files lie, as the keys of a configuration tell it; ValueError where they make no sense."""
    if len(columns) != 2 or columns[0] == columns[1] or any(isinstance(each, int) and each < 0 for each in columns):
        raise ValueError(
            "data.columns must name two columns, of the photo and of its class, by headings or numbers from 0, got "
            f"{list(columns)}"
        )
    if not 0 < validation_fraction < 1:
        raise ValueError(f"data.validation_fraction must lie in (0, 1), got {validation_fraction}")
    called = {side: _texts(names) for side, names in _sides(splits, "data.splits").items()}
    listed: dict[str, tuple[str, ...]]
    if isinstance(lists, str):
        listed = {side: (lists,) for side, names in called.items() if _exists(root, lists, side, names)}
    else:
        listed = {side: _texts(names) for side, names in _sides(lists, "data.lists").items()}
    layout = Layout(
        root,
        _texts(images) or ("",),
        _texts(maps),
        image_suffix or "",
        map_suffix or "",
        called,
        {side: each for side, each in listed.items() if each},
        validation_fraction,
        (columns[0], columns[1]),
        endings,
    )
    if layout.maps and layout.images == layout.maps and layout.image_suffix == layout.map_suffix and not layout.lists:
        raise ValueError(
            f"data.images and data.maps are both {', '.join(layout.images) or 'the root'}; give two folders, or tell "
            "photos and class maps apart by data.image_suffix and data.map_suffix"
        )
    return layout


def refuse_defects(part: Part, side: str, layout: Layout) -> None:
    """UserError where a part cannot be trained on or evaluated with."""
    if side == "train" and layout.evaluates_only:
        return
    if part.twice:
        one, other = part.twice[0]
        raise UserError(f"{one} and {other} in {layout.root} are told apart by their ending alone; keep one of them")
    if part.unknown:
        raise UserError(
            f"the list of {side} names {len(part.unknown)} pictures that are not in {layout.root}, {part.unknown[0]} "
            "for one; correct data.lists, data.images or data.image_suffix"
        )
    listed = bool(layout.lists.get(side))
    if part.alone and (listed or not part.images or len(part.alone) > LEAST_PAIRED * len(part.images + part.alone)):
        raise UserError(
            f"{len(part.alone)} of {len(part.images) + len(part.alone)} photos of {side} have no class map, "
            f"{part.alone[0]} for one{_example(part)}; they pair by path and name without data.image_suffix and "
            "data.map_suffix (data.maps=null: the photos alone)"
        )
    if not part.images:
        suffix = f" that ends in {layout.image_suffix}" if layout.image_suffix else ""
        where = ", ".join(pattern or "." for pattern in layout.images)
        raise UserError(
            f"there is no photo of {side}{suffix} in {where} below {layout.root}; correct data.images, "
            "data.image_suffix or data.splits"
        )


def notes_of(part: Part, side: str, root: object) -> list[str]:
    """What is to be said of a part that can be used."""
    notes = passed_over_note(f"{root} ({side})", part.passed_over)
    if part.alone:
        count = len(part.alone)
        notes.append(
            f"warning: {count} photo{'' if count == 1 else 's'} of {side} without a class map left out, "
            f"{part.alone[0]}{'' if count == 1 else ' for one'}"
        )
    if part.orphans and part.images:
        count = len(part.orphans)
        notes.append(
            f"note: {count} class map{'' if count == 1 else 's'} of {side} without a photo left out, "
            f"{part.orphans[0]}{'' if count == 1 else ' for one'}"
        )
    return notes


def shared_note(parts: Mapping[str, Part]) -> list[str]:
    """What is to be said where photos are trained on and validated with."""
    train, validation = (parts[side].images if side in parts else [] for side in ("train", "validation"))
    both = sorted(set(train) & set(validation))
    if not both or len(train) == 1:  # a single photo serves both
        return []
    return [
        f"warning: {len(both)} of {len(validation)} photos of validation are trained on too, {both[0]} for one; "
        "correct data.lists or data.splits, or scores say little"
    ]


def samples_of(
    layout: Layout, part: Part, channels: Channels, coding: Coding | None, pixel_range: PixelRange | None
) -> ImageSet:
    """The samples of a part; without `coding` photos alone."""
    if coding is None:
        return Photos(layout.root, part.images, channels, pixel_range=pixel_range)
    photos = LabelledPhotos(layout.root, part.images, layout.root, part.maps, part.keys, channels, coding)
    photos.pixel_range = pixel_range
    return photos


def _number_of_classes(part: Part, layout: Layout, settings: MapSettings) -> int:
    """Of the list of names; UserError saying what the maps look like where there is none."""
    names = class_list(layout.root, settings.classes, settings.palette).names
    if names is not None:
        way = f"data.classes names {len(names)}: set data.num_classes={len(names)}"
    elif settings.colours is not None or settings.values is not None:
        way = "set data.num_classes to how many classes data.values or data.colours tell apart"
    else:
        plain = coding_of(num_classes=255, names=None, ignore_index=255)
        present = np.zeros(256, bool)
        for place in spread(len(part.maps), GUESSED):
            file = layout.root / part.maps[place]
            present |= np.bincount(plain.decode(read_bytes(file), str(file)).numpy().ravel(), minlength=256) > 0
        ways = " or ".join(reading.words() for reading in readings_of(present))
        way = f"the class maps that were looked at hold {ranges(np.flatnonzero(present))}: set {ways or 'it'}"
    raise UserError(f"data.num_classes is 0, and with data.maps there are classes; {way}")


def _example(part: Part) -> str:
    return f" (there is the map {part.orphans[0]})" if part.orphans else ""


def _sides(told: Mapping[str, Names] | None, key: str) -> dict[str, Names]:
    told = dict(told or {})
    if unknown := sorted(set(told) - set(SIDES)):
        raise ValueError(f"{key} has the sides {', '.join(SIDES)}, got {unknown[0]}")
    return {side: told.get(side) for side in SIDES}


def _texts(names: Names) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)


def _exists(root: Path, pattern: str, side: str, names: Sequence[str]) -> bool:
    """Whether a side has a list of that name; training must have one."""
    return side == "train" or any((root / pattern.replace(SPLIT, name)).is_file() for name in names)
