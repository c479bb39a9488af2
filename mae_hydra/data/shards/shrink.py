"""A set of image files made small for fast reading: `mae-hydra make-shards --short 256 [--decoded]`.

Decoding is what a loader does most. Smaller images decode sooner, and pixels that lie in the shard need no decoding at
all, at several times the room of a JPEG. What was finer than the smaller image is lost: it is another data set.
"""

import io
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from mae_hydra.data.augment import crops
from mae_hydra.data.dataset import LabelledSet, Stored
from mae_hydra.data.decoding.decode import decode_image
from mae_hydra.data.decoding.pixel_range import PixelRange

JPEG_QUALITY = 95


class StoredSet(Protocol):
    """An ImageSet whose samples lie on a disk as encoded images."""

    def __len__(self) -> int: ...

    def stored(self, index: int) -> Stored:
        """A sample as its file holds it; UserError where that cannot be read."""
        ...


class Shrunk:
    """The samples of a StoredSet, the shorter side of larger ones reduced to `short` pixels (bicubic, antialiased).

    As JPEG of quality 95 at full colour resolution, or `decoded`, as the bytes of a NumPy array uint8 (H, W, C).
    `pixel_range`: as of the set; what is written has 8 bits.
    """

    def __init__(
        self,
        whole: StoredSet,
        short: int,
        channels: int,
        *,
        decoded: bool,
        pixel_range: PixelRange | None = None,
    ) -> None:
        if short < 1:
            raise ValueError(f"the shorter side must be at least 1 pixel, got {short}")
        self._whole, self._short, self._channels, self._decoded = whole, short, channels, decoded
        self._range = pixel_range

    def __len__(self) -> int:
        return len(self._whole)

    def stored(self, index: int) -> Stored:
        """Raises UserError where the image cannot be read."""
        name, encoded, class_id = self._whole.stored(index)
        image = decode_image(encoded, self._channels, name, self._range)
        image = crops.resize_bicubic(image, self._size(image))
        ending, written = ("npy", _as_array(image)) if self._decoded else ("jpg", _as_jpeg(image))
        return Stored(f"{name.rpartition('.')[0]}.{ending}", written, class_id)

    def labels(self, index: int) -> Tensor:
        """The class map of a set that has some, reduced as its image: nearest."""
        assert isinstance(self._whole, LabelledSet)
        labels = self._whole.labels(index)
        return crops.resize_nearest(labels, self._size(labels))

    def _size(self, picture: Tensor) -> tuple[int, int]:
        """(H, W) to which a picture (..., H, W) is reduced; its own where it is small enough."""
        height, width = picture.shape[-2:]
        factor = min(self._short / min(height, width), 1.0)
        return round(height * factor), round(width * factor)


def _as_array(image: Tensor) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(image.permute(1, 2, 0).numpy()), allow_pickle=False)
    return file.getvalue()


def _as_jpeg(image: Tensor) -> bytes:
    file = io.BytesIO()
    pixels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels if len(image) == 3 else pixels[:, :, 0])
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()
