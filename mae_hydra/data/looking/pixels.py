"""What is in some pictures: sizes, bits, bands, and of class maps the values or colours.

A budget of pixels and of time holds for all that is read of a folder. Shape letters: H W pixels.
"""

import io
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from mae_hydra.data.decoding.bands import band_header, every_band
from mae_hydra.data.decoding.decode import is_jpeg, orientation, reason_of, upright_size
from mae_hydra.data.decoding.deep import bands_of_tiff, full_depth, is_deep
from mae_hydra.data.decoding.opening import opened
from mae_hydra.data.labels.maps import decode_labels, palette_of
from mae_hydra.data.looking.found import Pixels
from mae_hydra.errors import UserError

MOST_PIXELS = 2**25  # of a picture whose pixels are read
MOST_BYTES = 2**28  # of a file that is opened
FEW_COLOURS = 40  # of a class map, whatever it looks like
MOST_COLOURS = 1024  # of one whose neighbours are mostly equal
FLAT = 0.8  # share of pixels equal to their left neighbour in such a map
_BITS_OF_MODE = {"1": 1, "F": 32, "I": 32}
_DEPTH_OF_PNG = 24  # the byte that tells the bits of a sample


@dataclass
class Budget:
    """How long, and how many pixels more, may be looked at."""

    seconds: float = 20.0
    pixels: int = 2**29

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds

    def spent(self) -> bool:
        return self.pixels <= 0 or time.monotonic() > self._until


@dataclass
class Look:
    """One picture. `values`: pixels of each stored number; `colours`: of each colour; None: not of that kind, or not
    read. `problem`: why it cannot be read ("") as a picture, `map_problem` as a class map."""

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    bits: int = 0
    bands: int = 0
    values: dict[int, int] | None = None
    colours: dict[tuple[int, int, int], int] | None = None
    flat: float = 0.0
    problem: str = ""
    map_problem: str = ""
    palette: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # colors of those values, of a palette PNG

    def is_map_like(self) -> bool:
        """Few values or colours, or regions of one value each."""
        found = self.values if self.values is not None else self.colours
        if found is None:
            return False
        return len(found) <= FEW_COLOURS or (len(found) <= MOST_COLOURS and self.flat >= FLAT)


def look_at(source: Path | bytes, name: str, budget: Budget, *, as_map: bool | None = None) -> Look:
    """Header and, but of JPEGs, pixels. `as_map`: True: also of JPEGs; False: the header alone."""
    look = Look()
    try:
        if isinstance(source, Path) and (as_map is False or source.stat().st_size > MOST_BYTES):
            return _of_header(source, look)
        encoded = source if isinstance(source, bytes) else source.read_bytes()
        _of_header(encoded, look)
        if as_map is False or (is_jpeg(encoded) and not as_map) or look.size[0] * look.size[1] > MOST_PIXELS:
            return look
        budget.pixels -= look.size[0] * look.size[1]
        _of_pixels(encoded, name, look)
    except Exception as error:  # damaged files raise nearly anything inside Pillow
        encoded = b"" if isinstance(error, OSError) and error.errno else _bytes(source)
        if encoded and _of_bands(encoded, look, budget):
            return look
        bands = bands_of_tiff(encoded) if encoded else None
        if bands:
            look.bands, look.bits = (int(word) for word in bands.split() if word.isdigit())
            look.mode, look.size = "", _size_of_tiff(encoded)
        strerror = error.strerror if isinstance(error, OSError) else None
        look.problem = strerror or reason_of(error, encoded)
    return look


def _of_bands(encoded: bytes, look: Look, budget: Budget) -> bool:
    """Whether it is an array or a TIFF that Pillow does not read, and its bands are read as they are stored."""
    header = band_header(encoded)
    if header is None or header[0][0] * header[0][1] > MOST_PIXELS:
        return False
    try:
        values = every_band(encoded)
    except Exception:  # who reads it as a picture has a sentence for it
        return False
    look.size, look.bands, look.bits, look.mode = header[0], values.shape[2], header[1].itemsize * 8, "bands"
    if look.bands > 1:
        look.map_problem = f"has {look.bands} bands; a class map has one, the number of the class (of scores: arg max)"
    budget.pixels -= values.size
    if look.bands == 1 and (values == np.floor(values)).all():
        numbers, counts = np.unique(values, return_counts=True)
        look.values = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
        look.flat = _flat(values[:, :, 0])
    return True


def summary(looks: Iterable[Look]) -> Pixels:
    """Of several pictures, what they have in common and what not."""
    looks = list(looks)
    sizes = sorted((look.size for look in looks if look.size[0]), key=lambda size: size[0] * size[1])
    chosen = (sizes[0], sizes[len(sizes) // 2], sizes[-1]) if sizes else ()
    good = [look for look in looks if look.mode]
    return Pixels(
        read=len(looks),
        sizes=chosen,
        modes=tuple(Counter(look.mode for look in good).most_common()),
        bits=tuple(sorted({look.bits for look in looks if look.bits})),
        bands=tuple(sorted({look.bands for look in looks if look.bands})),
        failed=next((look.problem for look in looks if look.problem), ""),
        readable=bool(good),
    )


def _of_header(source: Path | bytes, look: Look) -> Look:
    with opened(source) as picture:
        deep = is_deep(picture)
        # A PNG's orientation may stand behind its pixels, which are not wanted here.
        look.size = upright_size(picture, 1 if picture.format == "PNG" else orientation(picture))
        look.mode = picture.mode
        look.bands = int(_tag(picture, TiffImagePlugin.SAMPLESPERPIXEL) or len(picture.getbands()))
        look.bits = _BITS_OF_MODE.get(picture.mode, 16 if deep else 8)
        if stored := _tag(picture, TiffImagePlugin.BITSPERSAMPLE):
            look.bits = int(stored[0])
        elif picture.format == "PNG":
            look.bits = _beginning(source)[_DEPTH_OF_PNG]
    return look


def _beginning(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:32]
    with source.open("rb") as file:
        return file.read(32)


def _of_pixels(encoded: bytes, name: str, look: Look) -> None:
    try:
        stored = decode_labels(encoded, name).numpy()
        numbers, counts = np.unique(stored, return_counts=True)
        look.values = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        look.flat = _flat(stored)
        look.palette = palette_of(encoded, look.values)
        return
    except UserError as error:
        if error.__cause__ is not None:
            raise error.__cause__ from None
        look.map_problem = str(error).partition(name)[2].strip()
    with opened(encoded) as picture:
        deep = is_deep(picture)
        one_band = len(picture.getbands()) == 1 and picture.mode != "P"
        values = None if deep or one_band else np.asarray(picture.convert("RGB"))
        if one_band and not deep:
            values = np.asarray(picture)
    if values is None:
        values = full_depth(lambda: opened(encoded))
    if values.ndim == 2 or values.shape[2] == 1:
        values = values.reshape(values.shape[:2])
        if (values == np.floor(values)).all():
            numbers, counts = np.unique(values, return_counts=True)
            look.values = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
            look.flat = _flat(values)
        return
    if values.dtype != np.uint8:
        return
    packed = values.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    numbers, counts = np.unique(packed, return_counts=True)
    look.flat = _flat(packed)
    order = np.argsort(-counts)[: MOST_COLOURS + 1]  # one more tells that there are too many
    look.colours = {
        (int(number) >> 16, int(number) >> 8 & 255, int(number) & 255): int(count)
        for number, count in zip(numbers[order], counts[order], strict=True)
    }


def _flat(values: np.ndarray) -> float:
    return float((values[:, 1:] == values[:, :-1]).mean()) if values.shape[1] > 1 else 1.0


def _tag(picture: Image.Image, tag: int) -> Any:
    tags: Any = getattr(picture, "tag_v2", None) or {}
    return tags.get(tag)


def _size_of_tiff(encoded: bytes) -> tuple[int, int]:
    tags = TiffImagePlugin.ImageFileDirectory_v2(encoded[:8])
    file = io.BytesIO(encoded)
    file.seek(tags.next)
    tags.load(file)
    return int(tags.get(TiffImagePlugin.IMAGELENGTH, 0)), int(tags.get(TiffImagePlugin.IMAGEWIDTH, 0))


def _bytes(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()
