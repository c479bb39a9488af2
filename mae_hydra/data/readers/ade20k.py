"""`data=ade20k`: photos with class maps in the layout of ADEChallengeData2016.

    images/{training,validation}/NAME.jpg    annotations/{training,validation}/NAME.png    [classes.json]

Endings are read in any spelling, and maps may be .tif, .gif or .bmp too where their values are clear (`label_maps`).

`classes.json` is what `mae-hydra make-data` adds: {"names": [...], "palette": [[r, g, b], ...]}. Without it, a set of
150 classes is taken for ADE20K itself.

Shape letters: H W pixels, C classes.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae_hydra.data.dataset import Header, ImageData, Sample, check_loading, height_width, limited
from mae_hydra.data.decoding.decode import check_channels, read_image
from mae_hydra.data.decoding.measure_range import settle_files
from mae_hydra.data.decoding.pixel_range import AUTO, PixelRange, Told
from mae_hydra.data.headers import digest_of, image_header, read_header
from mae_hydra.data.label_table import LabelTable, Reading, Values
from mae_hydra.data.labels.maps import MAP_EXTENSIONS, read_labels
from mae_hydra.data.labels.palette import distinct_colours
from mae_hydra.data.listing import EXTENSIONS, Names, existing_folder, file_stamp, find_images, passed_over_note
from mae_hydra.data.readers.ade20k_names import ADE20K_NAMES
from mae_hydra.data.readers.contents import contents_of
from mae_hydra.errors import UserError

CLASSES_FILE = "classes.json"

_WANTED = (
    "expected is the layout of ADEChallengeData2016, images/{training,validation}/*.jpg with "
    "annotations/{training,validation}/*.png: give their parent with data.root=<folder>. Without any files use "
    "data=scenes, or a small set in this layout: `mae-hydra make-data` writes one and says how to train on it"
)


class LabelledPhotos:
    """Photos and their class maps as samples (an ImageSet); both files are checked when they are read."""

    pixel_range: PixelRange | None = None  # of the set, which training pictures tell

    def __init__(self, root: Path, split: str, channels: int, table: "LabelTable") -> None:
        self._images, self._maps = root / "images" / split, root / "annotations" / split
        self._channels, self._table = channels, table
        for folder in (self._images, self._maps):
            if not folder.is_dir():
                raise UserError(f"there is no folder {folder}; {_WANTED}")
        self.passed_over: Counter[str] = Counter()  # by ending: files among the images that are not read
        images, maps = find_images(self._images, passed_over=self.passed_over), find_maps(self._maps)
        if not images:
            raise UserError(f"there is no image in {self._images}; {_WANTED}")
        self._check_pairs(images, maps)
        map_of = {stem_of(name): name for name in maps}
        self.names = Names(images)
        self._map_names = Names(map_of[stem_of(name)] for name in images)

    def listing(self) -> str:
        return self.names.digest()

    def stamp(self, index: int) -> str:
        image, classes = self.paths(index)
        return f"{self.names[index]} {file_stamp(image)} {file_stamp(classes)}"

    def contents(self) -> str:
        return contents_of(self.names.digest(), len(self), self.paths)

    def _check_pairs(self, images: Sequence[str], maps: Sequence[str]) -> None:
        stems = {stem_of(name) for name in images}
        for found, others, has, lacks, where in (
            (images, {stem_of(name) for name in maps}, "image", "class map", self._maps),
            (maps, stems, "class map", "image", self._images),
        ):
            alone = [name for name in found if stem_of(name) not in others]
            if alone:
                raise UserError(
                    f"{len(alone)} of {len(found)} {has}s have no {lacks} of the same name in {where}, "
                    f"{alone[0]} for one; add the missing {lacks} or remove the {has}"
                )
        for found, noun, folder in ((images, "images", self._images), (maps, "class maps", self._maps)):
            if twice := shared_stems(found):
                raise UserError(
                    f"{folder} holds two {noun} of one name with different endings, {' and '.join(twice[0])} for "
                    "one; keep one of them"
                )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        image_path, _ = self.paths(index)
        image = read_image(image_path, self._channels, self.pixel_range)
        labels = self.labels(index)
        self._check_sizes(index, (image.shape[1], image.shape[2]), (labels.shape[0], labels.shape[1]))
        return Sample(image, labels, stem_of(self.names[index]))

    def labels(self, index: int) -> torch.Tensor:
        """The class map alone, uint8 (H, W); UserError where a value means nothing."""
        return torch.from_numpy(self._table.classes(self.stored_labels(index), self.paths(index)[1]))

    def header(self, index: int) -> Header:
        image_path, map_path = self.paths(index)
        image, labels = image_header(image_path, self.pixel_range), read_header(map_path)
        self._check_sizes(index, image.size, labels.size)
        return image._replace(mode=labels.mode)

    def digest(self) -> str:
        files = (path.absolute() for index in range(len(self)) for path in self.paths(index))
        return digest_of(files, self.pixel_range, self._table.accepted.tobytes(), self._table.class_of.tobytes())

    def _check_sizes(self, index: int, image: tuple[int, int], labels: tuple[int, int]) -> None:
        if image != labels:
            image_path, map_path = self.paths(index)
            raise UserError(
                f"the class map {map_path} is {labels[1]}x{labels[0]} pixels but its image {image_path} is "
                f"{image[1]}x{image[0]}; both must have one size"
            )

    def stored_labels(self, index: int) -> np.ndarray:
        """The class map as it is stored, uint8 (H, W)."""
        return read_labels(self._maps / self._map_names[index]).numpy()

    def paths(self, index: int) -> tuple[Path, Path]:
        """The files of the image and of its class map."""
        return self._images / self.names[index], self._maps / self._map_names[index]


def ade20k(
    *,
    root: str | None,
    image_size: int | Sequence[int],
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    num_classes: int,
    ignore_index: int,
    reduce_zero_label: bool,
    batch_size: int,
    train_limit: int | float | None,
    num_workers: int,
    values: Values | None = None,
    prefetch: int = 2,
    max_bad_share: float = 0.0,
    range: Told = AUTO,
) -> ImageData:
    """ADE20K, or any other set in its layout; see `LabelTable` for `reduce_zero_label` and `values`."""
    check_loading(batch_size, num_workers)
    check_channels(channels)
    path = existing_folder(root, _WANTED)
    reading = Reading(num_classes, ignore_index, reduce_zero_label, values)
    table = reading.table()
    train, validation = (LabelledPhotos(path, split, channels, table) for split in ("training", "validation"))
    settled = settle_files(range, channels, path / "images/training", train.names)
    train.pixel_range = validation.pixel_range = settled.pixel_range
    class_names, palette = read_classes(path, num_classes)
    return ImageData(
        train=limited(train, train_limit),
        validation=validation,
        image_size=height_width(image_size),
        channels=channels,
        mean=tuple(mean),
        std=tuple(std),
        num_classes=num_classes,
        class_names=class_names,
        palette=palette,
        ignore_index=ignore_index,
        target="map",
        batch_size=batch_size,
        num_workers=num_workers,
        prefetch=prefetch,
        max_bad_share=max_bad_share,
        reading=reading,
        assumed_names=not (path / CLASSES_FILE).exists(),
        pixel_range=settled.pixel_range,
        notes=(
            *(
                note
                for part, split in (("training", train), ("validation", validation))
                for note in passed_over_note(f"{root}/images/{part}", split.passed_over)
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
        raise UserError(f"{path} must give one colour [r, g, b] for each of {num_classes} names, got {palette.shape}")
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
