"""Class maps of georeferenced rasters: with their place on the earth, and of large ones window by window.

Read and written with rasterio (`pip install 'mae-hydra[geo]'`). Of a large raster what a window needs is read when it
is looked at, and the map is written piece by piece (`SegmentationInference.pieces`): it is that of the whole, and
memory does not grow with the raster.

Shape letters: B bands, H W pixels.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_hydra.data.decoding.bands import Channels, by_bands, number_of, with_nan
from mae_hydra.data.decoding.decode import grey_of
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.errors import UserError, short
from mae_hydra.inference.segmenter import label_map

ENDINGS = (".tif", ".tiff")
MOST_OF_A_PICTURE = 4  # bands, of grey or colors and what is transparent; with more of them none is meant
LARGE = 4096**2  # pixels; above, a raster is not read whole
CACHE = 256  # megabytes of blocks that GDAL keeps; by itself a twentieth of the machine's memory


class Unwritable(UserError):
    """A map cannot be written, and the next one could not either."""


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


class RasterPixels:
    """A raster as a `Readable` of `channels`: nothing of it is in memory but what was asked for last."""

    def __init__(self, raster: Any, channels: Channels, pixel_range: PixelRange | None, name: object) -> None:
        self.size = (raster.height, raster.width)
        self._raster, self._range, self._name = raster, pixel_range, name
        self._bands = bands_of(raster, channels, name)
        self._grey = channels == 1 and len(self._bands) == 3

    def read(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        from rasterio.windows import Window

        with readable(self._name):
            values = self._raster.read(self._bands, window=Window(left, top, right - left, bottom - top))
        return self._pixels(values)

    def reduced(self, side: int) -> Tensor:
        """All of it at a longer side of at most `side` pixels."""
        with readable(self._name):
            values = reduced(self._raster, self._bands, side)
        return self._pixels(values)

    def _pixels(self, values: np.ndarray) -> Tensor:
        pixels = as_pixels(values, self._raster, self._range, self._name)
        return torch.from_numpy(grey_of(pixels.permute(1, 2, 0).numpy())[None]) if self._grey else pixels


@contextmanager
def readable(name: object) -> Iterator[None]:
    """UserError where a block of the raster `name` is damaged or missing."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        raise UserError(f"cannot read the raster {name}: {short(error)}; get it again") from error


def may_lack_data(raster: Any) -> bool:
    """Whether a raster says where it has no data: by a number that stands for it, a mask, or what is transparent."""
    return "all_valid" not in {flag.name for flag in raster.mask_flag_enums[0]}


def has_data(raster: Any, window: Any, name: object) -> np.ndarray:
    """(H, W) of a window, or of all of it (None): whether the raster has data there."""
    with readable(name):
        return np.asarray(raster.dataset_mask(window=window) != 0)


def bands_of(raster: Any, channels: Channels, name: object) -> list[int]:
    """The numbers of the bands that are read for `channels`; UserError where the raster lacks them.

    As pictures are read that are not large: a grey one has its band in every channel, and of a colored one that is to
    be grey all three count.
    """
    if isinstance(channels, int) and not by_bands(channels):
        if raster.colorinterp[0].name == "palette":
            raise UserError(f"{name} holds numbers of a palette; write their colors (gdal_translate -expand rgb)")
        if raster.count <= MOST_OF_A_PICTURE:
            return [1, 2, 3] if raster.count >= 3 else [1] * channels
    wanted = list(range(1, channels + 1)) if isinstance(channels, int) else list(channels)
    if max(wanted) > raster.count or (isinstance(channels, int) and channels != raster.count):
        raise UserError(f"{name} has {raster.count} bands, and the model takes {number_of(channels)}")
    return wanted


def as_pixels(values: np.ndarray, raster: Any, pixel_range: PixelRange | None, name: object) -> Tensor:
    """Numbers (B, H, W) of a raster as uint8 or uint16."""
    values = with_nan(values, raster.nodata)
    if values.dtype.kind not in "uif":
        raise UserError(f"the numbers of {name} are {values.dtype}; whole or floating-point numbers are read")
    if values.dtype != np.uint8:
        if pixel_range is None:
            raise UserError(f"{name} has more than 8 bits a channel; say what is black and white with --range")
        values = pixel_range.scaled(values.transpose(1, 2, 0), len(values)).transpose(2, 0, 1)
    elif pixel_range is not None and pixel_range.bits == 16:
        values = values.astype(np.uint16) * 257
    return torch.from_numpy(np.ascontiguousarray(values))


def profile_of(raster: Any, most: int) -> dict[str, Any]:
    """What rasterio writes the class map of a raster with, whose numbers go up to `most`."""
    kind = "uint8" if most < 255 else "uint16"
    profile = {"driver": "GTiff", "height": raster.height, "width": raster.width, "count": 1, "dtype": kind}
    profile |= {"crs": raster.crs, "transform": raster.transform, "compress": "deflate", "BIGTIFF": "IF_SAFER"}
    if may_lack_data(raster):
        profile["nodata"] = nowhere(most)
    if min(raster.height, raster.width) >= 256:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    return profile


def nowhere(most: int) -> int:
    """The number, in maps of numbers up to `most`, of pixels for which a raster has no data."""
    return 255 if most < 255 else 65535


def maps_of(inference: Any, model: Any, pixels: RasterPixels) -> Iterator[tuple[Any, np.ndarray]]:
    """(window, class map of it) for all of a raster."""
    from rasterio.windows import Window

    for piece in inference.pieces(model, [pixels]):
        classes = label_map(piece.scores).cpu().numpy()
        yield Window(piece.left, piece.top, *classes.shape[::-1]), classes


def write(file: Path, profile: dict[str, Any], maps: Iterator[tuple[Any, np.ndarray]], palette: np.ndarray) -> None:
    """Class maps (H, W) of the windows (None: all), under the colours `palette`, uint8 (n, 3), of their numbers.

    Unwritable where there is no room: GDAL does not say why in the words of the system.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(file, "w", **profile) as written:
                for window, classes in maps:
                    written.write(classes.astype(profile["dtype"]), 1, window=window)
                if len(palette) <= 256:
                    written.write_colormap(1, {number: tuple(colour) for number, colour in enumerate(palette.tolist())})
        except RasterioError as error:
            raise Unwritable(
                f"cannot write a map in {file.parent} ({short(error)}); make room, or give another --out"
            ) from error


def reduced(raster: Any, bands: list[int], side: int) -> np.ndarray:
    """Bands (B, h, w) of a raster at a longer side of at most `side` pixels."""
    factor = min(side / max(raster.height, raster.width), 1)
    shape = max(round(raster.height * factor), 1), max(round(raster.width * factor), 1)
    pixels: np.ndarray = raster.read(bands, out_shape=(len(bands), *shape))
    return pixels
