"""From image files to uint8 tensors, at their own size.

JPEG goes straight from the bytes through torchcodec's decoder where that is installed, else through torchvision's,
which take half the time of Pillow; every other format, and whatever they decline, goes through Pillow. All give the
same colours. PNG stays with Pillow too: torchvision's decoder is a fifth faster, but a damaged PNG ends the whole
process there. torchvision announces the removal of its decoder (since 0.29 the public function warns on every call), so
the operator behind it is called.

Shape letters: C channels, H W pixels.
"""

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from mae_hydra.data.decoding.bands import ARRAY, Channels, array_of, by_bands, number_of, read_bands, without_missing
from mae_hydra.data.decoding.deep import bands_of_tiff, full_depth, is_deep
from mae_hydra.data.decoding.opening import opened
from mae_hydra.data.decoding.pixel_range import PixelRange, measured
from mae_hydra.errors import UserError

Range = PixelRange | Literal["own"] | None
"""What becomes 0 and 255 of more than 8 bits: a set's range, each picture's own, or None, which refuses such a picture.
"""

NATIVE = ("torchcodec", "torchvision")  # decoders of JPEGs that are taken where they are installed; (): Pillow alone
PILLOW_MODES = {1: "L", 3: "RGB"}  # by the number of channels
MODES = {1: "GRAY", 3: "RGB"}  # the same in the words of torchcodec and torchvision
NO_RANGE = (
    "it has more than 8 bits a channel, and no training picture that was looked at has; set data.range to [low, high], "
    "what becomes black and white"
)
_GREY = np.array([299, 587, 114]) / 1000  # Pillow's weights of red, green and blue
_ON_ITS_SIDE = range(5, 9)  # of EXIF's orientations: rows become columns
_HEIF = (b"heic", b"heix", b"mif1", b"msf1", b"hevc")  # brands
_JPEG = b"\xff\xd8\xff"  # how such a file begins


def read_image(path: Path, channels: Channels, pixel_range: Range = "own") -> Tensor:
    """The picture in `path` as `decode_image` gives it. Raises UserError, naming the file."""
    return decode_image(read_bytes(path), channels, str(path), pixel_range)


def decode_image(encoded: bytes, channels: Channels, name: str, pixel_range: Range = "own") -> Tensor:
    """Encoded bytes as uint8 (C, H, W); grey, palette, alpha, CMYK and deep pictures become 1 or 3 channels.

    They stand upright by their EXIF orientation. With other `channels` they are the bands of the file, as they are
    stored. With a range of 16 bits all are uint16, 0..65535. `pixel_range` is for pictures of more than 8 bits; those
    of one set must share it, or the same number is dark in one and bright in another. Raises UserError naming `name`
    where the bytes are damaged, truncated or no picture.
    """
    native = None if by_bands(channels) else _native_decoder(number_of(channels))
    if native is not None and is_jpeg(encoded):
        try:
            return _as_wide(native(torch.frombuffer(bytearray(encoded), dtype=torch.uint8)), pixel_range)
        except RuntimeError:
            pass  # Pillow reads some rare JPEGs that these do not, and names the damage more clearly
    try:
        if not isinstance(channels, int) or by_bands(channels):
            pixels = _decode_bands(encoded, channels, pixel_range)
        elif encoded.startswith(ARRAY):
            pixels = _pixels(encoded, channels)
        else:
            pixels = _decode_with_pillow(encoded, channels, pixel_range)
        return _as_wide(pixels, pixel_range)
    except Exception as error:  # damaged files raise nearly anything inside Pillow: OSError, SyntaxError, struct.error
        reason = reason_of(error, encoded)
        raise UserError(
            f"cannot read the image {name}: {reason}; replace the file or remove it from the data set"
        ) from error


def _decode_bands(encoded: bytes, channels: Channels, pixel_range: Range) -> Tensor:
    values = read_bands(encoded, channels)
    if values.dtype != np.uint8:
        if pixel_range is None:
            raise ValueError(NO_RANGE)
        found = measured([values], each=True) if pixel_range == "own" else pixel_range
        values = found.scaled(values, values.shape[2])
    return torch.from_numpy(np.require(values, requirements=("C", "W"))).permute(2, 0, 1)


def _as_wide(pixels: Tensor, pixel_range: Range) -> Tensor:
    """uint8 pixels as uint16 beside others of 16 bits: a batch is of one kind."""
    if pixels.dtype == torch.uint8 and isinstance(pixel_range, PixelRange) and pixel_range.bits == 16:
        return (pixels.to(torch.int32) * 257).to(torch.uint16)
    return pixels


def is_jpeg(encoded: bytes) -> bool:
    """By its first bytes."""
    return encoded.startswith(_JPEG)


def read_bytes(path: Path) -> bytes:
    """What the file holds; UserError naming it where it cannot be opened."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


@cache
def _native_decoder(channels: int) -> Callable[[Tensor], Tensor] | None:
    """The fastest decoder of JPEGs with `channels` that is installed; None where there is but Pillow."""
    codec, vision = (jpeg_codec() if "torchcodec" in NATIVE else None), "torchvision" in NATIVE
    if codec is not None:
        return partial(codec, mode=MODES[channels])
    return vision_decoder(channels) if vision else None


@cache
def jpeg_codec() -> Callable[..., Any] | None:
    """torchcodec's `decode_jpeg`; None where it is not installed, too old for that, or made for another torch."""
    try:
        from torchcodec.decoders import decode_jpeg
    except (ImportError, OSError, RuntimeError):
        return None
    found: Callable[..., Any] = decode_jpeg
    return found


@cache
def vision_decoder(channels: int) -> Callable[[Tensor], Tensor] | None:
    """torchvision's decoder for `channels`; None where this build of torchvision has none."""
    try:
        from torchvision.io import ImageReadMode  # importing it loads the operators

        operator = torch.ops.image.decode_image.default
    except (ImportError, AttributeError):
        return None
    mode = ImageReadMode[MODES[channels]].value
    return lambda encoded: operator(encoded, mode, True)  # True: turn the picture upright


def _pixels(encoded: bytes, channels: int) -> Tensor:
    """Those of an array as `make-shards` writes them."""
    array = array_of(encoded)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != channels:
        raise ValueError(f"its pixels are {array.dtype} {array.shape}, wanted are uint8 (height, width, {channels})")
    return torch.from_numpy(array.copy()).permute(2, 0, 1)


def _decode_with_pillow(encoded: bytes, channels: int, pixel_range: Range) -> Tensor:
    with opened(encoded) as picture:
        deep = is_deep(picture)
        if not deep:
            upright = ImageOps.exif_transpose(picture)
            if "transparency" in upright.info:
                upright = upright.convert("RGBA")  # first, or Pillow warns about a palette's transparent entries
            pixels = np.array(upright.convert(PILLOW_MODES[channels]))
    if deep:
        pixels = _scaled(_deep_numbers(encoded), channels, pixel_range)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def _scaled(values: np.ndarray, channels: int, pixel_range: Range) -> np.ndarray:
    """Numbers (H, W, B) as uint8 or uint16 (H, W) or (H, W, 3), as many as there are channels."""
    if pixel_range is None:
        raise ValueError(NO_RANGE)
    pixels = (measured([values]) if pixel_range == "own" else pixel_range).scaled(values, channels)
    if pixels.shape[2] == 3 and channels == 1:
        return grey_of(pixels)
    if pixels.dtype == np.uint16:
        return pixels.repeat(channels // pixels.shape[2], axis=2)
    shown = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return np.array(shown.convert(PILLOW_MODES[channels]))


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W) of colors uint8 or uint16 (H, W, 3)."""
    if pixels.dtype == np.uint16:
        return np.asarray((pixels @ _GREY).round().astype(np.uint16))
    return np.array(Image.fromarray(pixels).convert("L"))


def _deep_numbers(encoded: bytes) -> np.ndarray:
    return without_missing(full_depth(partial(opened, encoded)), encoded)


def deep_values(encoded: bytes, channels: Channels = 3) -> np.ndarray | None:
    """The numbers that a picture of more than 8 bits stores, (H, W, B), of bands those of 8 bits too.

    None: another picture, or one that cannot be read.
    """
    if is_jpeg(encoded):
        return None
    try:
        if by_bands(channels):
            return read_bands(encoded, channels)
        with opened(encoded) as picture:
            deep = is_deep(picture)
        return _deep_numbers(encoded) if deep else None
    except Exception:  # `decode_image` says what is wrong when it is its turn
        return None


def orientation(picture: Image.Image) -> int:
    """How EXIF turns an opened picture of which nothing has been loaded: 2 to 8; 1: not, nor by a number without a
    meaning."""
    told = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return int(told) if told in range(2, 9) else 1


def upright_size(picture: Image.Image, turn: int) -> tuple[int, int]:
    """(H, W) in which the picture is decoded, `turn` its orientation."""
    tags: Any = getattr(picture, "tag_v2", None)  # of a TIFF: newer versions of Pillow give its size turned already
    width, height = picture.size if tags is None else (tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength])
    return (width, height) if turn in _ON_ITS_SIDE else (height, width)


def reason_of(error: BaseException, encoded: bytes) -> str:
    """What is wrong with `encoded`, in words, from what its decoder raised."""
    if not encoded:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        bands = bands_of_tiff(encoded)
        if bands is not None:
            return f"it is a TIFF of {bands}, and 1 of up to 32 or 3 or 4 of up to 16 are read; write such a one"
        if encoded[4:8] == b"ftyp" and encoded[8:12] in _HEIF:
            return "it is HEIC, which pip install 'mae-hydra[heif]' reads"
        return "it is in no image format known here"
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
