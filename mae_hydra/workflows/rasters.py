"""Class maps of georeferenced rasters: with their place on the earth, and of large ones window by window.

Read and written with rasterio (`pip install 'mae-hydra[geo]'`). A large raster is cut into parts that overlap by so
much that every pixel gets all windows it would get in one piece: the map is the same, and memory does not grow with the
raster.

Shape letters: B bands, H W pixels.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_hydra.data.decoding.bands import Channels, number_of, with_nan
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.errors import UserError

ENDINGS = (".tif", ".tiff")
LARGE = 4096**2  # pixels; above, a raster is not read whole
CACHE = 256  # megabytes of blocks that GDAL keeps; by itself a twentieth of the machine's memory
PART = 2048  # pixels of a side of what is looked at together

Span = tuple[int, int, int, int]
"""What is read, from and to, and what of it is written."""


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """The raster in `file`; None where it is none, or rasterio is not installed."""
    if not file.name.lower().endswith(ENDINGS):
        yield None
        return
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
    except ImportError:
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            raster = rasterio.open(file)
        except RasterioIOError:  # who reads it says what is wrong
            yield None
            return
        with raster, rasterio.Env(GDAL_CACHEMAX=CACHE):
            yield raster


def is_placed(raster: Any) -> bool:
    """Whether it says where on the earth it lies."""
    return raster.crs is not None or not raster.transform.is_identity


def is_large(raster: Any) -> bool:
    return bool(raster.height * raster.width > LARGE)


def bands_of(raster: Any, channels: Channels, name: object) -> list[int]:
    """The numbers of the bands that are wanted; UserError where the raster lacks them."""
    wanted = list(range(1, channels + 1)) if isinstance(channels, int) else list(channels)
    if max(wanted) > raster.count or (isinstance(channels, int) and channels not in (raster.count, 1, 3)):
        raise UserError(f"{name} has {raster.count} bands, and the model takes {number_of(channels)}")
    return wanted


def as_pixels(values: np.ndarray, raster: Any, pixel_range: PixelRange | None, name: object) -> Tensor:
    """Numbers (B, H, W) of a raster as uint8 or uint16."""
    values = with_nan(values, raster.nodata)
    if values.dtype != np.uint8:
        if pixel_range is None:
            raise UserError(f"{name} has more than 8 bits a channel; say what is black and white with --range")
        values = pixel_range.scaled(values.transpose(1, 2, 0), len(values)).transpose(2, 0, 1)
    elif pixel_range is not None and pixel_range.bits == 16:
        values = values.astype(np.uint16) * 257
    return torch.from_numpy(np.ascontiguousarray(values))


def spans(length: int, crop: int, stride: int, part: int = PART) -> list[Span]:
    """How one side is cut, so that what is written of each part has met every window of `crop` pixels that reaches it.

    Parts begin at a window; what the first `crop - stride` pixels lack is in the part before.
    """
    margin = max(crop - stride, 0)
    size = crop + max(part - crop, 2 * margin + stride) // stride * stride
    step = (size - 2 * margin) // stride * stride
    parts: list[Span] = []
    start, done = 0, 0
    while True:
        if start + size + stride >= length:  # the last window is moved back to the edge, into no other part
            return [*parts, (start, length, done, length)]
        parts.append((start, start + size, done, start + step + margin))
        start, done = start + step, start + step + margin


def profile_of(raster: Any, most: int) -> dict[str, Any]:
    """What rasterio writes the class map of a raster with, whose numbers go up to `most`."""
    kind = "uint8" if most < 255 else "uint16"
    profile = {"driver": "GTiff", "height": raster.height, "width": raster.width, "count": 1, "dtype": kind}
    profile |= {"crs": raster.crs, "transform": raster.transform, "compress": "deflate", "BIGTIFF": "IF_SAFER"}
    if raster.nodata is not None:
        profile["nodata"] = nowhere(most)
    if min(raster.height, raster.width) >= 256:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    return profile


def nowhere(most: int) -> int:
    """The number, in maps of numbers up to `most`, of pixels for which a raster has no data."""
    return 255 if most < 255 else 65535


def write(file: Path, profile: dict[str, Any], maps: Iterator[tuple[Any, np.ndarray]], palette: np.ndarray) -> None:
    """Class maps (H, W) of the windows (None: all), under the colours `palette`, uint8 (n, 3), of their numbers."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(file, "w", **profile) as written:
            for window, classes in maps:
                written.write(classes.astype(profile["dtype"]), 1, window=window)
            if len(palette) <= 256:
                written.write_colormap(1, {number: tuple(colour) for number, colour in enumerate(palette.tolist())})


def parts(raster: Any, windows: Any, classes_of: Callable[[Any], np.ndarray]) -> Iterator[tuple[Any, np.ndarray]]:
    """(window, class map of it) for all of a raster; `windows`: those of the model, `classes_of(window)`: its map."""
    from rasterio.windows import Window

    (crop_height, crop_width), (down, across) = windows.crop, windows.stride
    for top, bottom, first_row, last_row in spans(raster.height, crop_height, down):
        for left, right, first, last in spans(raster.width, crop_width, across):
            classes = classes_of(Window(left, top, right - left, bottom - top))
            inside = classes[first_row - top : last_row - top, first - left : last - left]
            yield Window(first, first_row, last - first, last_row - first_row), inside


def reduced(raster: Any, bands: list[int], side: int) -> np.ndarray:
    """Bands (B, h, w) of a raster at a longer side of at most `side` pixels."""
    factor = min(side / max(raster.height, raster.width), 1)
    shape = max(round(raster.height * factor), 1), max(round(raster.width * factor), 1)
    pixels: np.ndarray = raster.read(bands, out_shape=(len(bands), *shape))
    return pixels
