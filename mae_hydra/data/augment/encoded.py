"""An image file that has not been decoded yet: a crop needs only a part of it, and large ones not every pixel.

Shape letters: C channels, H W pixels.
"""

import io
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mae_hydra.data.augment import crops
from mae_hydra.data.augment.on_device import Encoded
from mae_hydra.data.dataset import Sample, Stored
from mae_hydra.data.decoding.bands import Channels, by_bands
from mae_hydra.data.decoding.decode import PILLOW_MODES, Range, decode_image, is_jpeg
from mae_hydra.data.decoding.opening import MOST_PIXELS
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.decoding.turbojpeg import region_decoder
from mae_hydra.data.headers import read_header
from mae_hydra.errors import UserError

Decode = Literal["whole", "crop", "reduced", "device"]
"""What of a JPEG is decoded: all of it; what the crop needs; that, at 1/2, 1/4 or 1/8 where enough pixels are left.

"device": all of it, when the batch gets to the model (see `on_device`).
"""

REDUCTIONS = (8, 4, 2)  # that libjpeg computes in its inverse transform, most first


class EncodedImage:
    """A JPEG that stands upright; its size is known from its header. See `encoded_image`."""

    def __init__(self, encoded: bytes, channels: int, name: str, size: tuple[int, int]) -> None:
        self._encoded, self._channels, self._name = encoded, channels, name
        self.shape = (channels, *size)

    def decoded(self) -> Tensor:
        """All of it, as uint8 (C, H, W). Raises UserError naming the file."""
        return decode_image(self._encoded, self._channels, self._name)

    def draft(self, box: crops.Box, size: tuple[int, int], *, flip: bool) -> Encoded:
        """`box` at `size`, to be decoded on the device."""
        return Encoded(self._encoded, self._channels, self._name, box, size, flip)

    def cropped(self, box: crops.Box, size: tuple[int, int], decode: str) -> Tensor:
        """The part in `box`, resized to `size` (bicubic, antialiased): uint8 (C, H, W). `decode`: see `Decode`.

        With "crop" the pixels are those of "whole". With "reduced" the box is rounded down to whole pixels of the
        reduced picture, and the decoder's way to reduce is another than the resizing's: a level or two in the mean for
        that same box of a photo, several for the box that was asked for. Damage in rows that are not needed goes
        unnoticed. Raises UserError naming the file.
        """
        part = None
        if decode != "whole":
            reduction = _reduction(box, size) if decode == "reduced" else 1
            part = self._part(_reduced(box, reduction), reduction)
        return crops.resize_bicubic(crops.cut(self.decoded(), box) if part is None else part, size)

    def _part(self, box: crops.Box, reduction: int) -> Tensor | None:
        """`box` of the picture reduced; None where that is not to be had faster than all of it."""
        decoder = region_decoder()
        if decoder is not None:
            return decoder.decode(self._encoded, self._channels, box, reduction)
        return None if reduction == 1 else self._draft(box, reduction)

    def _draft(self, box: crops.Box, reduction: int) -> Tensor | None:
        """Pillow reduces as well, but cannot leave out what lies beside the box."""
        top, left, height, width = box
        mode = PILLOW_MODES[self._channels]
        try:
            with Image.open(io.BytesIO(self._encoded)) as picture:
                picture.draft(mode, (self.shape[2] // reduction, self.shape[1] // reduction))
                part = picture.crop((left, top, left + width, top + height))
                if picture.mode != mode:
                    return None
        except Exception:  # whatever it is, `decoded` comes next and says it better
            return None
        return torch.from_numpy(np.array(part).reshape(height, width, self._channels)).permute(2, 0, 1)


class Unread(NamedTuple):
    """A Sample (see `source`) whose image waits to be decoded."""

    image: EncodedImage
    label: int | None
    name: str


def undecoded(stored: Stored, channels: Channels, place: str, pixel_range: Range = "own") -> Sample | Unread:
    """A stored sample: as it is where its image may be decoded in part, else decoded. UserError with its `place`."""
    name, encoded, class_id = stored
    wide = isinstance(pixel_range, PixelRange) and pixel_range.bits > 8  # beside which one of 8 bits must be spread
    image = None if wide else encoded_image(encoded, channels, place)
    if image is None:
        return Sample(decode_image(encoded, channels, place, pixel_range), class_id, name)
    return Unread(image, class_id, name)


def encoded_image(encoded: bytes, channels: Channels, name: str) -> EncodedImage | None:
    """None where the file must be decoded whole: another format than JPEG, not upright, too large, damaged."""
    if not is_jpeg(encoded) or not isinstance(channels, int) or by_bands(channels):
        return None
    decoder = region_decoder()
    headers_end = encoded.find(b"\xff\xda")  # where pixels begin; of a thumbnail, if there is one
    turned = encoded.find(b"Exif\0\0", 0, headers_end) >= 0  # or not: that takes longer to find out
    size = _upright_size(encoded) if decoder is None or turned else decoder.size(encoded)
    if size is None or size[0] * size[1] > MOST_PIXELS:
        return None
    return EncodedImage(encoded, channels, name, size)


def _upright_size(encoded: bytes) -> tuple[int, int] | None:
    try:
        header = read_header(encoded)
    except UserError:  # `decode_image` says what is wrong
        return None
    return None if header.turned else header.size


def _reduction(box: crops.Box, size: tuple[int, int]) -> int:
    gap = min(box[2] / size[0], box[3] / size[1])
    return next((reduction for reduction in REDUCTIONS if gap >= reduction), 1)


def _reduced(box: crops.Box, reduction: int) -> crops.Box:
    top, left, height, width = box
    return top // reduction, left // reduction, height // reduction, width // reduction
