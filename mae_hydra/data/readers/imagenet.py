"""`data=imagenet`: photos in class folders, `train/<class>/*` and `val/<class>/*`."""

from collections import Counter
from pathlib import Path

import numpy as np

from mae_hydra.data.dataset import ImageData
from mae_hydra.data.decoding.bands import Channels, endings_of
from mae_hydra.data.listing import existing_folder, find_images, passed_over_note
from mae_hydra.data.readers.folder import Photos
from mae_hydra.data.settings import FileSettings, data_factory
from mae_hydra.errors import UserError

_WANTED = (
    "expected are class folders, train/<class>/*.jpg and val/<class>/*.jpg: give their parent with data.root=<folder>. "
    "For photos without classes use data=folder; without any files data=scenes, or a small set in this layout: "
    "`mae-hydra make-data --layout imagenet` writes one and says how to train on it"
)


@data_factory
def imagenet(settings: FileSettings, *, root: str | None) -> ImageData:
    """ImageNet's layout. A class id is the position of its folder's name among the sorted names of `train/`."""
    num_classes = settings.num_classes
    path = existing_folder(root, _WANTED)
    for split in ("train", "val"):
        if not (path / split).is_dir():
            raise UserError(f"data.root={root} has no folder {split}/; {_WANTED}")
    passed_over: dict[str, Counter[str]] = {"train": Counter(), "val": Counter()}
    train, validation = (_list_split(path / split, settings.wanted, others) for split, others in passed_over.items())
    classes = sorted(set(_folders(train)))
    if len(classes) != num_classes:
        raise UserError(
            f"{path / 'train'} holds {len(classes)} class folders with images but data.num_classes is {num_classes}; "
            f"set data.num_classes={len(classes)}"
        )
    unknown = sorted(set(_folders(validation)) - set(classes))
    if unknown:
        raise UserError(
            f"{path / 'val'} has {len(unknown)} class folders that {path / 'train'} does not have images for, "
            f"{unknown[0]} for one; both must name their classes alike"
        )
    ids = {name: number for number, name in enumerate(classes)}
    settled = settings.settled(path / "train", train)

    def photos(split: str, names: list[str]) -> Photos:
        class_ids = np.array([ids[name] for name in _folders(names)], dtype=np.int64)
        return Photos(path / split, names, settings.wanted, class_ids, settled.pixel_range)

    return settings.image_data(
        photos("train", train),
        photos("val", validation),
        "class",
        class_names=tuple(classes),
        pixel_range=settled.pixel_range,
        notes=(
            *(note for split, others in passed_over.items() for note in passed_over_note(f"{root}/{split}", others)),
            *settled.notes,
        ),
    )


def _list_split(path: Path, channels: Channels, passed_over: Counter[str]) -> list[str]:
    names = find_images(path, endings_of(channels), passed_over)
    if not names:
        raise UserError(f"there is no image in {path}; {_WANTED}")
    flat = [name for name in names if "/" not in name]
    if flat:
        raise UserError(
            f"{path} holds {len(flat)} images that lie in no class folder, {flat[0]} for one; "
            f"move each into the folder of its class, {path.name}/<class>/{flat[0]} "
            "(ImageNet's validation images come unsorted, and are sorted by its development kit's list of classes)"
        )
    return names


def _folders(names: list[str]) -> list[str]:
    return [name.split("/", 1)[0] for name in names]
