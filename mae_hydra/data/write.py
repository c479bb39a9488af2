"""Sets with class maps, written in the layouts that `data=ade20k` and `data=imagenet` read: `mae-hydra make-data`.

Shape letters: C classes, H W pixels.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from mae_hydra.data.dataset import ImageSet, Sample
from mae_hydra.data.loading.stream import EvalStream
from mae_hydra.data.readers.ade20k import CLASSES_FILE
from mae_hydra.errors import UserError
from mae_hydra.owned import Owned

JPEG_QUALITY = 95
COMMAND = "make-data"


def write_ade20k(
    image_sets: Mapping[str, ImageSet],
    root: Path,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    ignore_index: int,
    indexed: bool,
    overwrite: bool,
    num_workers: int,
) -> None:
    """Write splits ("training", "validation") as images/SPLIT/NAME.jpg, annotations/SPLIT/NAME.png and `classes.json`.

    Maps follow ADE20K: class k is stored as k + 1, ignored pixels as 0 (`data.reduce_zero_label=true` reads them).
    `indexed`: maps are palette PNGs, which picture viewers show in colour, instead of grey ones of the same values.
    A folder that is not empty is refused, unless `overwrite` is given and this module wrote it.
    """
    owned = _prepare(root, overwrite)
    stored = np.zeros(256, dtype=np.uint8)
    stored[: len(class_names)] = np.arange(1, len(class_names) + 1)
    stored[ignore_index] = 0
    colours = np.concatenate([np.zeros((1, 3), np.uint8), palette]).flatten().tolist()
    for split, image_set in image_sets.items():
        images, maps = root / "images" / split, root / "annotations" / split
        for sample in _samples(image_set, num_workers):
            stem = _file_name(sample)
            _write_jpeg(sample.image, _new(owned, images / f"{stem}.jpg"))
            picture = Image.fromarray(stored[_class_map(sample)])
            if indexed:
                picture.putpalette(colours)
            picture.save(_new(owned, maps / f"{stem}.png"))
    _write_classes(_new(owned, root / CLASSES_FILE), class_names, palette)


def write_imagenet(
    image_sets: Mapping[str, ImageSet],
    root: Path,
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    subjects: Sequence[int] | None,
    overwrite: bool,
    num_workers: int,
) -> list[str]:
    """Write splits ("train", then "val") as SPLIT/CLASS/NAME.jpg; gives the class folders: `data.num_classes` of them.

    An image's class is that of `image_class` among `subjects` (None: all classes); one that shows none is left out.
    Later splits use only the classes that the first one has. Folders are called "03_forest", so that they sort as the
    classes do.
    """
    owned = _prepare(root, overwrite)
    digits = len(str(len(class_names) - 1))
    folders = [f"{number:0{digits}d}_{_path_part(name)}" for number, name in enumerate(class_names)]
    allowed = list(range(len(class_names))) if subjects is None else list(subjects)
    for split, image_set in image_sets.items():
        used: set[int] = set()
        for sample in _samples(image_set, num_workers):
            number = image_class(_class_map(sample), allowed)
            if number is not None:
                used.add(number)
                path = root / split / folders[number] / f"{_file_name(sample)}.jpg"
                _write_jpeg(sample.image, _new(owned, path))
        allowed = [number for number in allowed if number in used] if split == next(iter(image_sets)) else allowed
    _write_classes(_new(owned, root / CLASSES_FILE), class_names, palette)
    return [folders[number] for number in sorted(allowed)]


def image_class(labels: np.ndarray, allowed: Sequence[int]) -> int | None:
    """The class among `allowed` with most pixels of a class map, uint8 (H, W); None where none of them has any."""
    counts = np.bincount(labels.ravel(), minlength=256)[list(allowed)]
    return allowed[int(counts.argmax())] if counts.any() else None


def _prepare(root: Path, overwrite: bool) -> Owned:
    """A folder for a new data set: empty, or emptied of the files that an earlier call wrote, and of no others."""
    if root.exists() and not root.is_dir():
        raise UserError(f"cannot write a data set to {root}: it is a file; name a folder")
    if root.is_dir() and any(root.iterdir()):
        if not overwrite:
            raise UserError(f"{root} is not empty; name a new folder, or allow overwriting if make-data wrote this one")
        if not Owned(root, COMMAND).path.is_file():
            raise UserError(f"{root} was not written by make-data, so it is not overwritten; name a new folder")
    owned = Owned(root, COMMAND)
    if overwrite and owned.path.is_file():
        owned.clear()
    return owned


def _samples(image_set: ImageSet, num_workers: int) -> Iterator[Sample]:
    for batch in EvalStream(image_set, None, batch_size=16, num_workers=num_workers, rank=0, world_size=1):
        for _, sample in batch:
            yield sample


def _new(owned: Owned, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return owned.claim(path)


def _file_name(sample: Sample) -> str:
    return _path_part(sample.name.rsplit(".", 1)[0])


def _path_part(name: str) -> str:
    return name.replace("/", "_").replace(" ", "_")


def _class_map(sample: Sample) -> np.ndarray:
    if not isinstance(sample.label, Tensor):
        raise UserError(f"{sample.name} has no class map, so it cannot be written; use a data set with class maps")
    return sample.label.numpy()


def _write_jpeg(image: Tensor, path: Path) -> None:
    """Without chroma subsampling, which would blur the colours of small pictures."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.save(path, quality=JPEG_QUALITY, subsampling=0)


def _write_classes(path: Path, class_names: Sequence[str], palette: np.ndarray) -> None:
    content = {"names": list(class_names), "palette": palette.tolist()}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
