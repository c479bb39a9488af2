"""Class maps from files: the numbers that are stored, in whatever form, as long as it is clear which they are.

What a number means is said by `LabelTable`. A picture of colours has none, nor has a JPEG, whose values are no longer
those that were written; such files are refused by name rather than read as something else.

Shape letters: H W pixels.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mae_hydra.data.decoding.bands import ARRAY, band_header, one_band
from mae_hydra.data.decoding.decode import orientation, read_bytes, reason_of
from mae_hydra.data.decoding.deep import full_depth, is_deep
from mae_hydra.data.decoding.opening import opened
from mae_hydra.data.headers import read_header
from mae_hydra.errors import UserError

MAP_EXTENSIONS = (".png", ".tif", ".tiff", ".gif", ".bmp")
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF", "HEIF")
_PNG = b"\x89PNG"
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF
_FIRST_OF_EQUAL = {"RGB": 3, "RGBA": 3, "LA": 1, "La": 1, "PA": 1}  # channels that must agree; one more is opacity
MOST_OF_16_BITS = 2**16 - 1
_WAY_OUT = "a class map is an 8-bit PNG whose gray value or palette index is the class, so convert its colors"


class _Unclear(Exception):
    """What the file holds, and what to do about it: "holds …; …"."""


def read_labels(path: Path) -> Tensor:
    """A class map as uint8 (H, W), its values as stored; see `decode_labels`."""
    return decode_labels(read_bytes(path), str(path))


def decode_labels(encoded: bytes, name: str, *, brightness: bool = False) -> Tensor:
    """`decode_numbers` of up to 255, uint8 (H, W)."""
    return decode_numbers(encoded, name, most=255, brightness=brightness)


def decode_numbers(encoded: bytes, name: str, *, most: int, brightness: bool) -> Tensor:
    """Stored values, uint8 (H, W), or uint16 where `most` is above 255.

    Grey levels, palette indices (of a GIF its grey levels), bits, or equal channels.
    Of 1, 2 and 4 bits the samples themselves (0 and 1; 0 to 3), of more than 8 bits whole numbers up to `most`. Turned
    where the file has an EXIF orientation of its own, as the picture is. `brightness`: what a viewer shows in place of
    what is stored, 0 to 255 also of bits, palettes and JPEGs; for sets that give every value a meaning. UserError
    naming `name`, without a cause where the file is whole but holds no class numbers.
    """

    def values(picture: Image.Image | None) -> np.ndarray:
        return _whole(one_band(encoded), most) if picture is None else _stored(picture, encoded, most, brightness)

    return torch.from_numpy(np.require(_read(encoded, name, values, or_band=True), requirements=("C", "W")))


def decode_colours(encoded: bytes, name: str) -> np.ndarray:
    """The colours of a class map, uint8 (H, W, 3), turned as `decode_labels` does. UserError naming `name`."""
    return _read(encoded, name, _colours)


def _read(encoded: bytes, name: str, values: Callable[[Any], np.ndarray], *, or_band: bool = False) -> np.ndarray:
    """`values` of the opened picture; with `or_band`, of None where it is a band that Pillow does not read."""
    try:
        if or_band and encoded.startswith(ARRAY):
            return values(None)
        try:
            with opened(encoded) as picture:
                return values(picture)
        except UnidentifiedImageError:
            if or_band and band_header(encoded) is not None:
                return values(None)
            raise
    except _Unclear as error:
        raise UserError(f"the class map {name} {error}") from None
    except Exception as error:
        reason = reason_of(error, encoded)
        raise UserError(
            f"cannot read the class map {name}: {reason}; replace the file or remove it with its image"
        ) from error


def palette_of(encoded: bytes | Path, values: Iterable[int]) -> dict[int, tuple[int, int, int]]:
    """The colours that a PNG with a palette gives these stored values; nothing of another file."""
    try:
        with opened(encoded) as picture:
            raw = getattr(picture.palette, "palette", b"") if (picture.mode, picture.format) == ("P", "PNG") else b""
    except (OSError, ValueError):  # an array, or what Pillow does not read
        return {}
    known = [(raw[3 * value], raw[3 * value + 1], raw[3 * value + 2]) for value in range(len(raw) // 3)]
    return {value: known[value] for value in values if value < len(known)}


def first_clash(palettes: Iterable[Mapping[int, tuple[int, int, int]]]) -> tuple[int, int, int] | None:
    """A value that has different colours in two palettes, and the places of these; None where there is none.

    Who saves pictures of few colours as palettes numbers them anew in each file (`quantize`, optimizers of PNGs).
    """
    known: dict[int, tuple[tuple[int, int, int], int]] = {}
    for place, palette in enumerate(palettes):
        for value, colour in palette.items():
            first = known.setdefault(value, (colour, place))
            if first[0] != colour:
                return value, first[1], place
    return None


def turned_apart(photo: Path, labels: Path) -> bool:
    """Whether EXIF turns the photo and not its map, and their sizes do not tell on which of the two it was drawn."""
    try:
        header = read_header(photo)
        decided = header.on_its_side and header.size[0] != header.size[1]
        return header.turned and not decided and not read_header(labels).turned
    except UserError:  # it is named where it is read
        return False


def _colours(picture: Image.Image) -> np.ndarray:
    _refuse_pages(picture)
    if is_deep(picture):
        raise _Unclear("holds more than 8 bits a channel; data.colours are of 8 bits, so write an 8-bit PNG")
    if picture.format in _LOSSY:
        raise _Unclear(f"holds {picture.format} pixels; {picture.format} changes colors, so write PNGs from the source")
    upright = ImageOps.exif_transpose(picture)
    values = np.array(upright.convert("RGBA"))
    if values[..., 3].min() != values[..., 3].max():
        raise _Unclear("holds colors, some of them transparent; write opaque ones")
    return values[..., :3]


def _refuse_pages(picture: Image.Image) -> None:
    if getattr(picture, "n_frames", 1) > 1:
        raise _Unclear(f"holds {getattr(picture, 'n_frames', 1)} pages; keep the one with the class numbers")


def _stored(picture: Image.Image, encoded: bytes, most: int, brightness: bool) -> np.ndarray:
    if picture.format in _LOSSY and not brightness:
        raise _Unclear(f"holds {picture.format} pixels; {picture.format} changes values, so write PNGs from the source")
    _refuse_pages(picture)
    tags: Any = getattr(picture, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise _Unclear("holds inverted gray levels (TIFF with white as zero); write them as an 8-bit PNG")
    if _is_of_15_bits(picture):
        raise _Unclear(f"holds colors of 5 bits, which are spread over 0 to 255; {_WAY_OUT}")
    deep = is_deep(picture)  # first: loading keeps the upper byte of colours alone
    highest = _highest_of_netpbm(picture)
    picture.load()
    if orientation(picture) != 1:
        ImageOps.exif_transpose(picture, in_place=True)
    if picture.format == "GIF" and picture.mode == "P":  # its writers number colours anew; a grey one is its own number
        picture = picture.convert("RGB")
    if brightness and not deep:
        if picture.mode in ("1", "L") or picture.format in _LOSSY:
            return np.array(picture.convert("L"))
        picture = picture.convert("RGB") if picture.mode == "P" else picture
    values = np.array(picture)
    if deep:
        values = _at_full_depth(values, encoded)
    if highest and not brightness:
        scale = 255 if values.dtype == np.uint8 else MOST_OF_16_BITS
        values = ((values.astype(np.int64) * highest + scale // 2) // scale).astype(values.dtype)
    if picture.mode in _FIRST_OF_EQUAL:
        values = _equal_channels(values, picture.mode)
    elif picture.mode in ("L", "P"):
        spread = _spread(picture.mode, encoded, tags)
        return values if spread == 1 else values // spread
    elif picture.mode != "1" and not picture.mode.startswith(("I", "F")):
        raise _Unclear(f"holds {picture.mode} pixels; {_WAY_OUT}")
    return _whole(values, most)


def _highest_of_netpbm(picture: Any) -> int:
    """The number to which a file of Netpbm sets white, for which Pillow spreads its numbers over 0 to 255 or 65535; 0:
    it does not."""
    for decoder, *_, arguments in picture.tile:
        if decoder in ("ppm", "ppm_plain") and isinstance(arguments, tuple):
            return int(arguments[1]) if arguments[1] not in (255, MOST_OF_16_BITS) else 0
    return 0


def _is_of_15_bits(picture: Any) -> bool:
    return any("BGR;1" in str(tile[3]) for tile in picture.tile)  # of BMP: BGR;15 and BGR;16


def _at_full_depth(values: np.ndarray, encoded: bytes) -> np.ndarray:
    """The whole numbers for `values`, (H, W) or (H, W, channels); of an alpha channel the upper byte tells enough."""
    numbers = full_depth(partial(opened, encoded))
    if values.ndim == 2:
        return numbers[..., 0]
    if numbers.shape[2] == 1:  # grey with alpha, which Pillow gives out as a colour picture
        numbers = np.repeat(numbers, values.shape[2] - 1, axis=2)
    return np.concatenate([numbers, values[..., numbers.shape[2] :]], axis=2)


def _equal_channels(values: np.ndarray, mode: str) -> np.ndarray:
    """The grey levels of a picture that only has the form of a colour picture."""
    colours = _FIRST_OF_EQUAL[mode]
    if (values[..., 1:colours] != values[..., :1]).any():
        raise _Unclear(f"holds {mode} pixels, and its channels differ; {_WAY_OUT}")
    if values.shape[2] > colours and values[..., colours].min() != values[..., colours].max():
        raise _Unclear(f"holds {mode} pixels, some of them transparent; {_WAY_OUT}, and transparency to a number")
    return values[..., 0]


def _spread(mode: str, encoded: bytes, tags: Any) -> int:
    """By what Pillow has multiplied the samples: grey ones of 2 and 4 bits it spreads over 0..255, indices not."""
    bits = (tags.get(_BITS_PER_SAMPLE) or (8,))[0]
    if encoded.startswith(_PNG):
        bits = encoded[24]
    return 255 // (2**bits - 1) if mode == "L" and bits in (2, 4) else 1


def _whole(values: np.ndarray, highest: int) -> np.ndarray:
    """uint8 of numbers of any kind that are whole and fit; uint16 where `highest` is above 255."""
    if values.dtype == bool:
        return (values.view(np.uint8) > 0).astype(np.uint8)  # Pillow's truth is 255
    if values.dtype == np.uint8:
        return values
    least, most = values.min(), values.max()
    if not (least >= 0 and most <= highest):  # of what is not a number both are false
        strange = most if most > highest else least
        raise _Unclear(
            f"holds the value {strange:g}; class maps have whole numbers from 0 to {highest} (instance numbers, depth "
            "and the like are no classes), so write an 8-bit PNG of classes"
        )
    whole = values.astype(np.uint8 if highest <= 255 else np.uint16)
    if (whole != values).any():
        raise _Unclear("holds fractions; class maps have whole numbers from 0 to 255, so write an 8-bit PNG of classes")
    return whole
