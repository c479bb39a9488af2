"""A picture at the size at which it is looked at: only what is asked for is read, resized and normalised.

A picture of 100 megapixels has 1.2 GB of normalised numbers, and three times as many at a ratio of 1.75.
"""

from typing import Any, Protocol

from torch import Tensor
from torch.nn.functional import pad

from mae_hydra.inference.resize import resized_part, size_of
from mae_hydra.inference.segmentation_model import SegmentationModel
from mae_hydra.inference.windows import Size

KEPT = 2**22  # pixels; a smaller frame is made once


class Readable(Protocol):
    """A picture of `size` (height, width) that lies elsewhere, as a large raster does."""

    size: Size

    def read(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """uint8 or uint16 (C, bottom - top, right - left)"""
        ...


class Pixels:
    """An image, uint8 or uint16 (C, H, W), as a Readable."""

    def __init__(self, image: Tensor) -> None:
        self.image, self.size = image, size_of(image)

    def read(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        return self.image[:, top:bottom, left:right]


def readable(picture: Tensor | Readable) -> Readable:
    """Any picture as a Readable."""
    return Pixels(picture) if isinstance(picture, Tensor) else picture


class Frame:
    """`picture` at `size`, as `model` is shown it."""

    def __init__(self, model: SegmentationModel, picture: Tensor | Readable, size: Size) -> None:
        self.size = size
        self._model: Any = model
        self._device = next(model.parameters()).device
        self._source = readable(picture)
        self._whole: Tensor | None = None

    def window(self, top: int, left: int, crop: Size, *, mirrored: bool = False) -> Tensor:
        """Normalised float (C, *crop); what is outside of the frame is zero, the mean colour.

        `mirrored`: the place is one in the mirror image, and so is the window.
        """
        bottom, right = min(top + crop[0], self.size[0]), min(left + crop[1], self.size[1])
        if mirrored:
            found = self._part(top, bottom, self.size[1] - right, self.size[1] - left).flip(-1)
        else:
            found = self._part(top, bottom, left, right)
        return pad(found, (0, crop[1] - (right - left), 0, crop[0] - (bottom - top)))

    def _part(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        height, width = self.size
        if height * width > KEPT:
            return self._made(top, bottom, left, right)
        if self._whole is None:
            self._whole = self._made(0, height, 0, width)
        return self._whole[:, top:bottom, left:right]

    def _made(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        def read(*sides: int) -> Tensor:
            return self._source.read(*sides).to(self._device, non_blocking=True)

        found = resized_part(read, self._source.size, self.size, (top, bottom, left, right))
        made: Tensor = self._model.prepare(found[None])[0]
        return made
