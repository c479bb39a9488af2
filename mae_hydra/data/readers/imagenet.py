"""`data=imagenet`: photos in class folders, `train/<class>/*` and `val/<class>/*`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_hydra.data.dataset import ImageData, check_loading, height_width, limited
from mae_hydra.data.decoding.decode import check_channels
from mae_hydra.data.decoding.measure_range import settle_files
from mae_hydra.data.decoding.pixel_range import AUTO, Told
from mae_hydra.data.labels.palette import distinct_colours
from mae_hydra.data.listing import existing_folder, find_images, passed_over_note
from mae_hydra.data.readers.folder import Photos
from mae_hydra.errors import UserError

_WANTED = (
    "expected are class folders, train/<class>/*.jpg and val/<class>/*.jpg: give their parent with data.root=<folder>. "
    "For photos without classes use data=folder; without any files data=scenes, or a small set in this layout: "
    "`mae-hydra make-data --layout imagenet` writes one and says how to train on it"
)


def imagenet(
    *,
    root: str | None,
    image_size: int | Sequence[int],
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    num_classes: int,
    ignore_index: int,
    batch_size: int,
    train_limit: int | float | None,
    num_workers: int,
    prefetch: int = 2,
    max_bad_share: float = 0.0,
    range: Told = AUTO,
) -> ImageData:
    """ImageNet's layout. A class id is the position of its folder's name among the sorted names of `train/`."""
    check_loading(batch_size, num_workers)
    check_channels(channels)
    path = existing_folder(root, _WANTED)
    for split in ("train", "val"):
        if not (path / split).is_dir():
            raise UserError(f"data.root={root} has no folder {split}/; {_WANTED}")
    passed_over: dict[str, Counter[str]] = {"train": Counter(), "val": Counter()}
    train, validation = (_list_split(path / split, others) for split, others in passed_over.items())
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
    settled = settle_files(range, channels, path / "train", train)

    def photos(split: str, names: list[str]) -> Photos:
        class_ids = np.array([ids[name] for name in _folders(names)], dtype=np.int64)
        return Photos(path / split, names, channels, class_ids, settled.pixel_range)

    return ImageData(
        train=limited(photos("train", train), train_limit),
        validation=photos("val", validation),
        image_size=height_width(image_size),
        channels=channels,
        mean=tuple(mean),
        std=tuple(std),
        num_classes=num_classes,
        class_names=tuple(classes),
        palette=distinct_colours(num_classes),
        ignore_index=ignore_index,
        target="class",
        batch_size=batch_size,
        num_workers=num_workers,
        prefetch=prefetch,
        max_bad_share=max_bad_share,
        pixel_range=settled.pixel_range,
        notes=(
            *(note for split, others in passed_over.items() for note in passed_over_note(f"{root}/{split}", others)),
            *settled.notes,
        ),
    )


def _list_split(path: Path, passed_over: Counter[str]) -> list[str]:
    names = find_images(path, passed_over=passed_over)
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
