"""What an audit sees in one sample: read whole, decoded as training would, and put into a few numbers.

Shape letters: C channels, H W pixels.
"""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_hydra.data.dataset import ImageSet
from mae_hydra.data.decoding.bands import Channels, by_bands
from mae_hydra.data.decoding.decode import decode_image, orientation, read_bytes, reason_of
from mae_hydra.data.decoding.deep import is_deep
from mae_hydra.data.decoding.opening import opened
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.labels.coding import Coding
from mae_hydra.data.labels.maps import decode_labels, turned_apart
from mae_hydra.data.listing import JPEG_ENDINGS, Names
from mae_hydra.errors import UserError

THUMB = (8, 9)  # rows and columns of the tiny grey picture by which near-duplicates are found
TURNED = "turned by EXIF"
APART = f"{TURNED}, its map not"
LEVELS = np.arange(256.0)
_ENDINGS = {
    "JPEG": JPEG_ENDINGS, "PNG": (".png",), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"), "BMP": (".bmp",),
    "GIF": (".gif",), "AVIF": (".avif",), "JPEG2000": (".jp2",), "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}  # fmt: skip
_OF_SEVERAL_PICTURES = ("TIFF", "GIF", "WEBP")


class Pixels(NamedTuple):
    """What an image comes to.

    `size`: (H, W). `content`: digest of the bytes. `thumb`: uint8 `THUMB`, grey. `total`, `squares`: float64 (C,),
    exact sums over pixels of the values 0..255 and of their squares.
    """

    size: tuple[int, int]
    content: bytes
    thumb: np.ndarray
    total: np.ndarray
    squares: np.ndarray


class Labels(NamedTuple):
    """What a class map comes to: (H, W), digest of the bytes, and int64 (256,), pixels of each value as stored."""

    size: tuple[int, int]
    content: bytes
    stored: np.ndarray


@dataclass(slots=True)
class Look:
    """One sample in numbers; None is what it does not have, or could not be read.

    `problems`: kind of defect -> what is wrong, in words. `traits`: peculiarities of the file ("CMYK", "blank").
    `class_id`: of a set with one class per image.
    """

    problems: dict[str, str] = field(default_factory=dict)
    traits: tuple[str, ...] = ()
    pixels: Pixels | None = None
    labels: Labels | None = None
    class_id: int | None = None


class FileSplit:
    """Image files below `root`, with the file of the class map ("": none) or the class id of each.

    `shown`: as of `ImageData`.
    """

    shown: Sequence[int] = ()

    def __init__(
        self,
        root: Path,
        images: Sequence[str],
        channels: Channels,
        *,
        maps: Sequence[str] | None = None,
        class_ids: np.ndarray | None = None,
        pixel_range: PixelRange | None = None,
        coding: Coding | None = None,
    ) -> None:
        self._range = pixel_range
        self._decode = decode_labels if coding is None else coding.decode
        self._root, self._images, self._channels = root, Names(images), channels
        self._maps, self._class_ids = None if maps is None else Names(maps), class_ids

    def __len__(self) -> int:
        return len(self._images)

    def name(self, position: int) -> str:
        return self._images[position]

    def labels_name(self, position: int) -> str:
        return "" if self._maps is None else self._maps[position]

    def look(self, position: int) -> Look:
        """Raises nothing about the files: what is wrong with them is in `problems`."""
        look = Look()
        self._look_at_image(position, look)
        if self.labels_name(position):
            self._look_at_labels(position, look)
        if self._class_ids is not None:
            look.class_id = int(self._class_ids[position])
        _compare_sizes(look)
        if TURNED in look.traits and look.labels is not None and not look.problems.get("size"):
            photo, labels = self._root / self.name(position), self._root / self.labels_name(position)
            if turned_apart(photo, labels):
                look.traits = tuple(APART if trait == TURNED else trait for trait in look.traits)
        return look

    def sample(self, position: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Image uint8 (H, W, C), and its class map as stored, uint8 (H, W), to draw; UserError where one is damaged."""
        name = self.name(position)
        image = decode_image(read_bytes(self._root / name), self._channels, name, self._range)
        labels = self.labels_name(position)
        stored = self._decode(read_bytes(self._root / labels), labels).numpy() if labels else None
        return image.permute(1, 2, 0).numpy(), stored

    def _look_at_image(self, position: int, look: Look) -> None:
        name, encoded = self.name(position), None
        try:
            encoded = read_bytes(self._root / name)
            with _words_of_libraries() as words:
                image = decode_image(encoded, self._channels, name, self._range)
        except UserError as error:
            look.problems["unreadable image"] = _reason(error, encoded)
            return
        if words:
            look.problems["damaged image"] = words[0]
        look.pixels = measure(image, encoded)
        own = () if by_bands(self._channels) else _traits(encoded, name)
        look.traits = (*own, *_traits_of_pixels(image, look.pixels))

    def _look_at_labels(self, position: int, look: Look) -> None:
        name, encoded = self.labels_name(position), None
        try:
            encoded = read_bytes(self._root / name)
            labels = self._decode(encoded, name)
        except UserError as error:
            unknown = "data.colours does not" in str(error) or "data.values does not" in str(error)
            kind = "labels without a class" if unknown else "labels in colours"
            kind = kind if error.__cause__ is None else "unreadable labels"
            look.problems[kind] = _reason(error, encoded)
            return
        look.labels = count(labels.numpy(), encoded)


class SampleSplit:
    """Samples of an ImageSet that is rendered, or read by code of its own."""

    shown: Sequence[int] = ()

    def __init__(self, samples: ImageSet) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, position: int) -> str:
        try:
            return self._samples[position].name
        except UserError:
            return f"sample {position}"

    labels_name = name

    def look(self, position: int) -> Look:
        look = Look()
        try:
            image, label, _ = self._samples[position]
        except UserError as error:
            look.problems["unreadable image"] = str(error)
            return look
        look.pixels = measure(image, image.numpy().tobytes())
        look.traits = tuple(_traits_of_pixels(image, look.pixels))
        if isinstance(label, Tensor):
            look.labels = count(label.numpy(), label.numpy().tobytes())
            _compare_sizes(look)
        elif label is not None:
            look.class_id = int(label)
        return look

    def sample(self, position: int) -> tuple[np.ndarray, np.ndarray | None]:
        image, label, _ = self._samples[position]
        return image.permute(1, 2, 0).numpy(), label.numpy() if isinstance(label, Tensor) else None


Split = FileSplit | SampleSplit


def measure(image: Tensor, encoded: bytes) -> Pixels:
    """An image, uint8 or uint16 (C, H, W), that was stored as `encoded`."""
    # Of whole numbers below 2**53 every sum is exact in float64, in whatever order they come.
    levels, unit = (LEVELS, 1) if image.dtype == torch.uint8 else (np.arange(65536.0), 257)
    channels = image.flatten(1).numpy()
    counts = np.stack([np.bincount(each, minlength=len(levels)) for each in channels]).astype(np.float64)
    step = max(1, min(image.shape[1] // (16 * THUMB[0]), image.shape[2] // (16 * THUMB[1])))  # 16 x 16 pixels a cell do
    small = F.adaptive_avg_pool2d(image[None, :, ::step, ::step].float(), THUMB)[0]
    return Pixels(
        size=(image.shape[1], image.shape[2]),
        content=_digest(encoded),
        thumb=(small.mean(0) / unit).round().numpy().astype(np.uint8),
        total=counts @ levels / unit,
        squares=counts @ levels**2 / unit**2,
    )


def count(labels: np.ndarray, encoded: bytes) -> Labels:
    """A class map, uint8 (H, W), that was stored as `encoded`."""
    size = labels.shape[0], labels.shape[1]
    return Labels(size, _digest(encoded), np.bincount(labels.ravel(), minlength=256))


def _traits_of_pixels(image: Tensor, pixels: Pixels) -> Iterator[str]:
    """Peculiarities that only the pixels show."""
    if np.array_equal(pixels.squares * image[0].numel(), pixels.total**2):
        yield "blank"
    elif len(image) == 3 and len(set(pixels.total)) == 1 and bool((image == image[:1]).all()):
        yield "grey"


def _traits(encoded: bytes, name: str) -> Iterator[str]:
    """Peculiarities of the file that decoding takes away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of huge pictures and of broken EXIF; decoding has had its say
        with opened(encoded) as picture:
            mode, kind, deep = picture.mode, str(picture.format), is_deep(picture)
            if mode.startswith("CMYK"):
                yield "CMYK"
            if deep:
                yield "16 bits"
            if mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
                yield "alpha"
            if mode == "P":
                yield "palette"
            if orientation(picture) != 1:
                yield TURNED
            if kind in _OF_SEVERAL_PICTURES and getattr(picture, "n_frames", 1) > 1:
                yield "several pages"
            if not name.lower().endswith(_ENDINGS.get(kind, "")):
                yield "named as another format"


@contextmanager
def _words_of_libraries() -> Iterator[list[str]]:
    """What C libraries print to stderr meanwhile: libjpeg mends a damaged file as it can, and only says so there."""
    words: list[str] = []
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield words
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            words += file.read().decode(errors="replace").splitlines()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _reason(error: UserError, encoded: bytes | None) -> str:
    """What is wrong without the file's name and the way out, which a finding says once for many; None: not opened."""
    cause: Any = error.__cause__
    if cause is None:  # of a class map in colours: "... holds RGB pixels; ..."
        return str(error).partition(" holds ")[2].partition(";")[0] or str(error)
    return str(cause.strerror) if encoded is None else reason_of(cause, encoded)


def _compare_sizes(look: Look) -> None:
    if look.pixels is None or look.labels is None or look.pixels.size == look.labels.size:
        return
    (height, width), (rows, columns) = look.pixels.size, look.labels.size
    turned = (height, width) == (columns, rows) and TURNED in look.traits
    why = ", because EXIF turns the image and not the map" if turned else ""
    look.problems["size"] = f"image {width}x{height}, map {columns}x{rows}{why}"
