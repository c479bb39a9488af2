"""`data=classification`: any photos with a class each, in class folders or told by lists, wherever they lie."""

from collections.abc import Mapping, Sequence

import numpy as np

from mae_hydra.data.dataset import ImageData, ImageSet
from mae_hydra.data.decoding.bands import endings_of
from mae_hydra.data.listing import existing_folder
from mae_hydra.data.readers.class_list import class_list
from mae_hydra.data.readers.folder import Photos
from mae_hydra.data.readers.layout import Part
from mae_hydra.data.readers.pairs import parts_of
from mae_hydra.data.readers.segmentation import Names, layout_of, notes_of, refuse_defects, shared_note
from mae_hydra.data.settings import FileSettings, data_factory
from mae_hydra.errors import UserError

_WANTED = "give the folder of the data set with data.root=<folder>"


@data_factory
def classification(
    settings: FileSettings,
    *,
    root: str | None,
    images: Names,
    splits: Mapping[str, Names] | None,
    validation_fraction: float,
    lists: str | Mapping[str, Names] | None,
    columns: Sequence[int | str],
    classes: Names,
) -> ImageData:
    """Photos with a class each below `root`; `conf/data/classification.yaml` says what each key means.

    The class is what a list tells of a photo, else the first folder of its path below `images`. UserError names what is
    not there or does not fit.
    """
    path = existing_folder(root, _WANTED)
    layout = layout_of(
        path,
        images=images,
        maps=None,
        image_suffix=None,
        map_suffix=None,
        splits=splits,
        validation_fraction=validation_fraction,
        lists=lists,
        columns=columns,
        endings=endings_of(settings.wanted),
    )
    parts = parts_of(layout)
    for side, part in parts.items():
        refuse_defects(part, side, layout)
    told = {side: _labels(part, side) for side, part in parts.items()}
    own_validation = layout.lists.get("validation") or (layout.has_splits and layout.splits.get("validation"))
    shared = told["train"] if told["train"] and own_validation else [*told["train"], *told["validation"]]
    names = _names(class_list(path, classes, None).names, shared, settings.num_classes)
    settled = settings.settled(path, (parts["train"] if parts["train"].images else parts["validation"]).images)

    def photos(part: Part, labels: Sequence[str], side: str) -> ImageSet:
        return Photos(path, part.images, settings.wanted, _ids(labels, names, part, side), settled.pixel_range)

    def test() -> ImageSet:
        part = parts_of(layout, ("test",)).get("test")
        if part is None:
            raise UserError("nothing says which photos are for testing: give data.splits.test, or data.lists.test")
        refuse_defects(part, "test", layout)
        return photos(part, _labels(part, "test"), "test")

    return settings.image_data(
        photos(parts["train"], told["train"], "train"),
        photos(parts["validation"], told["validation"], "validation"),
        "class",
        test=test,
        class_names=names,
        pixel_range=settled.pixel_range,
        notes=(
            *(note for side, part in parts.items() for note in notes_of(part, side, root)),
            *shared_note(parts),
            *settled.notes,
        ),
    )


def _labels(part: Part, side: str) -> list[str]:
    """The class of each photo, as a list tells it or its folder is called."""
    found = [part.labels.get(key) or key.partition("/")[0] * ("/" in key) for key in part.keys]
    lost = [image for image, label in zip(part.images, found, strict=True) if not label]
    if lost:
        raise UserError(
            f"{len(lost)} of {len(found)} photos of {side} lie in no class folder and no list tells their class, "
            f"{lost[0]} for one; data.images is the folder that holds the class folders, data.lists names a file of "
            "photos and classes"
        )
    return found


def _names(told: Sequence[str] | None, labels: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """What the classes are called, in order; numbers of a list are the classes themselves where they fit."""
    there = sorted(
        set(labels), key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)
    )
    numbers = all(label.isdecimal() for label in there)
    if told is not None:
        names, source = tuple(told), "data.classes names"
    elif numbers and int(there[-1]) < num_classes:
        return tuple(str(number) for number in range(num_classes))
    else:
        names, source = tuple(there), "the photos have"
    if len(names) != num_classes:
        raise UserError(
            f"{source} {len(names)} classes but data.num_classes is {num_classes}; set data.num_classes={len(names)}"
        )
    return names


def _ids(labels: Sequence[str], names: Sequence[str], part: Part, side: str) -> np.ndarray:
    """int64 (N,): the place of each label among the names, or the number that it is."""
    known = {str(number): number for number in range(len(names))} | {name: place for place, name in enumerate(names)}
    for image, label in zip(part.images, labels, strict=True):
        if label not in known:
            some = f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
            raise UserError(
                f"{image} of {side} has the class {label}, which is none of {len(names)} ({some}); both splits must "
                "name their classes alike, and data.classes names them in order"
            )
    return np.array([known[label] for label in labels], np.int64)
