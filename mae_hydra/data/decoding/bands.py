"""The bands of a picture, as many and in the order that are wanted: satellites' and microscopes' files, and arrays.

Files of 1 and 3 channels of which no bands are asked for never come here: they are photographs (`decode`).

Shape letters: H W pixels, B bands.
"""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mae_hydra.data.decoding.deep import full_depth, is_deep
from mae_hydra.data.decoding.opening import check_size, opened
from mae_hydra.data.listing import EXTENSIONS, WITH_ARRAYS

Channels = int | tuple[int, ...]
"""How many channels a picture is to have, or which bands of its file they are, counted from 1 as GDAL does."""

PHOTOGRAPHS = (1, 3)
ARRAY = b"\x93NUMPY"  # how an .npy file begins
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NO_DATA = 42113  # GDAL's tag


def number_of(channels: Channels) -> int:
    return channels if isinstance(channels, int) else len(channels)


def by_bands(channels: Channels) -> bool:
    """Whether the bands of a file are wanted as they are stored, rather than a grey or a colour picture."""
    return not isinstance(channels, int) or channels not in PHOTOGRAPHS


def endings_of(channels: Channels) -> tuple[str, ...]:
    """Of the files that are read: photographs, and where bands are wanted also arrays."""
    return WITH_ARRAYS if by_bands(channels) else EXTENSIONS


def check_bands(channels: int, bands: Sequence[int] | None, shown: Sequence[int] | None) -> None:
    """ValueError where what a configuration says of bands does not go together."""
    if channels < 1:
        raise ValueError(f"data.channels must be at least 1, got {channels}")
    if bands is not None:
        if not bands or min(bands) < 1:
            raise ValueError(f"data.bands must name bands of the files, counted from 1, got {list(bands)}")
        if len(bands) != channels:
            raise ValueError(f"data.bands names {len(bands)} bands: set data.channels={len(bands)}, got {channels}")
    there = bands or range(1, channels + 1)
    if shown is not None and (len(shown) not in PHOTOGRAPHS or not set(shown) <= set(there)):
        raise ValueError(
            f"data.shown_bands must be three of the bands {', '.join(map(str, there))}, or one, got {list(shown)}"
        )


def shown_channels(channels: int, bands: Sequence[int] | None, shown: Sequence[int] | None) -> tuple[int, ...]:
    """The channels that pictures show; empty: nothing is told."""
    there = list(bands or range(1, channels + 1))
    return tuple(there.index(band) for band in shown or ())


def read_bands(encoded: bytes, channels: Channels) -> np.ndarray:
    """The numbers (H, W, B) of the bands that are wanted, as they are stored; ValueError where the file lacks them.

    Of more than 8 bits the value that the file declares for missing data is not-a-number.
    """
    values = without_missing(every_band(encoded), encoded)
    there = values.shape[2]
    if isinstance(channels, int):
        if there != channels:
            raise ValueError(
                f"it has {_many(there)} and data.channels is {channels}; set data.channels={there}, or name those "
                f"wanted with data.bands=[…]"
            )
        return values
    if max(channels) > there:
        raise ValueError(f"it has {_many(there)}, and data.bands asks for band {max(channels)}")
    return values[:, :, [band - 1 for band in channels]]


def one_band(encoded: bytes) -> np.ndarray:
    """The numbers (H, W) of a file of a single band, truth as 0 and 1."""
    values = _stored(encoded)
    if values.shape[2] != 1:
        raise ValueError(f"it has {_many(values.shape[2])}, and a class map has one (of scores, the highest's number)")
    return _real(values.view(np.uint8) if values.dtype == bool else values)[:, :, 0]


def band_header(encoded: bytes) -> tuple[tuple[int, int], np.dtype] | None:
    """((H, W), what a number is) of an array, or of a TIFF that Pillow does not read; None: it is neither."""
    try:
        if encoded.startswith(ARRAY):
            values = _arrays_bands(array_of(encoded))
            return (values.shape[0], values.shape[1]), values.dtype
        if encoded.startswith(_TIFFS):
            import tifffile

            with tifffile.TiffFile(io.BytesIO(encoded)) as file:
                page: Any = file.pages[0]
                return (page.imagelength, page.imagewidth), np.dtype(page.dtype)
    except Exception:  # damaged headers raise nearly anything; `read_bands` says what is wrong
        return None
    return None


def every_band(encoded: bytes) -> np.ndarray:
    """The numbers (H, W, B) of all bands, truth as 0 and 255; ValueError where they are no real numbers, or too many.

    What the header tells is looked at before room is taken for them.
    """
    values = _stored(encoded)
    return _real(values.view(np.uint8) * 255 if values.dtype == bool else values)


def array_of(encoded: bytes) -> np.ndarray:
    """What an .npy file holds, a view of its bytes; ValueError where it is cut short, or no array of numbers."""
    file = io.BytesIO(encoded)
    major, _ = np.lib.format.read_magic(file)
    if major > 2:  # of names in other letters than ASCII, which only records have
        raise ValueError("it is an array of records; arrays of numbers are read")
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, by_columns, kind = read(file)
    if kind.hasobject:
        raise ValueError("it is an array of Python objects; arrays of numbers are read")
    count, begin = math.prod(shape), file.tell()
    if len(encoded) - begin < count * kind.itemsize:
        raise ValueError(f"it is cut short: {len(encoded) - begin} of {count * kind.itemsize} bytes are there")
    return np.frombuffer(encoded, kind, count, begin).reshape(shape, order="F" if by_columns else "C")


def _stored(encoded: bytes) -> np.ndarray:
    if encoded.startswith(ARRAY):
        values = _arrays_bands(array_of(encoded))
        check_size(*values.shape)
        return values
    return _bands_of_tiff(encoded) if encoded.startswith(_TIFFS) else _bands_of_picture(encoded)


def _real(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "uif":
        raise ValueError(f"its numbers are {values.dtype}; whole or floating-point numbers are read")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _arrays_bands(values: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, B) or (B, H, W) as (H, W, B): where the first axis is the shortest, it is that of the bands."""
    if values.ndim == 2:
        return values[:, :, None]
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"its shape is {values.shape}; (height, width), (height, width, bands) or the bands first")
    return values.transpose(1, 2, 0) if values.shape[0] < min(values.shape[1:]) else values


def _bands_of_tiff(encoded: bytes) -> np.ndarray:
    """Of the first picture; where all pictures are single bands of one size, each is a band."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        pages: Any = file.pages
        first: Any = pages[0]
        stacked = first.samplesperpixel == 1 and len(pages) > 1
        check_size(first.imagelength, first.imagewidth, len(pages) if stacked else first.samplesperpixel)
        try:
            values = np.asarray(first.asarray())
            if stacked:
                others = [each for each in pages if each.shape == first.shape and each.dtype == first.dtype]
                if len(others) == len(pages):
                    values = np.stack([each.asarray() for each in others], axis=-1)
        except ValueError as error:  # a compression for which tifffile needs another library
            return _bands_by_gdal(encoded, error)
        if first.samplesperpixel > 1 and first.planarconfig == 2:
            values = values.transpose(1, 2, 0)
        return values if values.ndim == 3 else values[:, :, None]


def without_missing(values: np.ndarray, encoded: bytes) -> np.ndarray:
    """`with_nan` of what a TIFF declares to be missing (GDAL's tag)."""
    if values.dtype.itemsize == 1 or not encoded.startswith(_TIFFS):
        return values
    return with_nan(values, _declared_missing(encoded))


def with_nan(values: np.ndarray, missing: float | None) -> np.ndarray:
    """Numbers of more than 8 bits with not-a-number in place of `missing`, if that is anywhere among them.

    Whole numbers become floating-point ones that hold them.
    """
    if missing is None or np.isnan(missing) or values.dtype.itemsize == 1:
        return values
    there = values == (np.asarray(missing, values.dtype) if values.dtype.kind == "f" else missing)
    if not there.any():
        return values
    kind = values.dtype if values.dtype.kind == "f" else np.float32 if values.dtype.itemsize == 2 else np.float64
    return np.where(there, np.nan, values).astype(kind)


def _declared_missing(encoded: bytes) -> float | None:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        page: Any = file.pages[0]
        tag = page.tags.get(_NO_DATA)
        try:
            return None if tag is None else float(str(tag.value).strip("\0 "))
        except ValueError:
            return None


def _bands_by_gdal(encoded: bytes, error: Exception) -> np.ndarray:
    try:
        from rasterio.io import MemoryFile
    except ImportError:
        raise ValueError(f"{error}; pip install 'mae-hydra[geo]' reads it") from error
    with MemoryFile(encoded) as memory, memory.open() as file:
        return np.asarray(file.read().transpose(1, 2, 0))


def _bands_of_picture(encoded: bytes) -> np.ndarray:
    with opened(encoded) as picture:
        if not is_deep(picture):
            upright: Image.Image = ImageOps.exif_transpose(picture)
            values = np.asarray(upright.convert("RGB") if upright.mode in ("P", "PA") else upright)
            return values if values.ndim == 3 else values[:, :, None]
    return full_depth(lambda: opened(encoded))


def _many(count: int) -> str:
    return f"{count} band{'' if count == 1 else 's'}"
