"""Pictures of more than 8 bits a channel, at full depth: 12 and 16 bits, signed and floating-point numbers.

Pillow hands grey ones out whole, but keeps only the upper byte of each colour: of 12 bits stored in 16 that leaves 16
levels. Its unpackers know both byte orders, and each keeps the byte that is the upper one in its own, so a picture
unpacked once in each order has given both. TIFFs of three and four bands that are not declared as colours (satellites'
pictures) are read the same way; what has more bands is not.

Shape letters: H W pixels, B bands (1 or 3).
"""

import io
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

Opened = Callable[[], AbstractContextManager[Image.Image]]

_COLOURS = re.compile(r"(RGB|RGBA|RGBX|RGBa|LA|CMYK);16([LBN])")  # the raw modes of which Pillow keeps the upper byte
_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_ORDER = {"L": "B", "B": "L"}
_SIGNED = 2  # in TIFF's SampleFormat
_GREY = (0, 1)  # TIFF's PhotometricInterpretation of what is no colour
_SEPARATE = 2  # TIFF's PlanarConfiguration: one plane after the other


def _let_pillow_read_bands_that_are_no_colours() -> None:
    """Pillow's table of TIFFs, extended: three and four bands of 8 and 16 bits, grey by declaration or signed."""
    known: Any = TiffImagePlugin.OPEN_INFO
    orders, kinds, numbers = ((b"II", "L"), (b"MM", "B")), (1, 2), ((1, 8), (1, 16), (_SIGNED, 16))
    for (prefix, order), kind, (sign, bits), bands in product(orders, kinds, numbers, (3, 4)):
        mode = "RGB" if bands == 3 else "RGBX"
        raw_mode = mode + (f";16{order}" if bits == 16 else "")
        extras = ((), *product((0, 2), repeat=bands - 1), *product((0, 2), repeat=bands - 3))
        for extra, signs in product(extras, ((sign,), (sign,) * bands)):
            known.setdefault((prefix, kind, signs, 1, (bits,) * bands, extra), (mode, raw_mode))


_let_pillow_read_bands_that_are_no_colours()


def is_deep(picture: Image.Image) -> bool:
    """Whether an opened picture, of which nothing has been loaded, stores more than 8 bits a channel."""
    return picture.mode.startswith("I") or picture.mode == "F" or _colours(picture) is not None


def full_depth(opened: Opened) -> np.ndarray:
    """The numbers that a deep picture stores, upright, (H, W, B); alpha and a fourth band are dropped."""
    with opened() as picture:
        colours, signed = _colours(picture), _is_signed(picture)
        if colours is None:
            _trust_the_order_of_libtiff(picture)
            values = np.asarray(ImageOps.exif_transpose(picture))
            if values.dtype == np.int32 and picture.format == "TIFF" and not signed:
                values = values.view(np.uint32)  # 16 bits would not be of this type
            return values.astype(values.dtype.newbyteorder("="))[:, :, None]
    bands, order = colours
    if bands == "CMYK":
        raise ValueError("it is CMYK of 16 bits; convert it to RGB")
    if bands == "LA":  # two numbers of 16 bits are four of 8, as red, green, blue and alpha are
        both = _unpacked(opened, "RGBA")
        return (both[:, :, :1].astype(np.uint16) << 8) | both[:, :, 1:2]
    bands = "RGBA" if bands == "RGBa" else bands  # not divided by alpha
    upper, lower = (_unpacked(opened, f"{bands};16{each}")[:, :, :3] for each in (order, _OTHER_ORDER[order]))
    values = (upper.astype(np.uint16) << 8) | lower
    return values.view(np.int16) if signed else values


def refuse_separate_planes(picture: Any) -> None:
    """ValueError for a TIFF whose bands lie one behind the other: of such, Pillow mixes up all but 8-bit colours."""
    tags = getattr(picture, "tag_v2", None) or {}
    bands = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    if bands > 1 and tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == _SEPARATE:
        bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
        if bits > 8 or tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) in _GREY:
            raise ValueError(
                f"its {bands} bands lie one behind the other; write them pixel by pixel "
                "(gdal_translate -co INTERLEAVE=PIXEL)"
            )


def bands_of_tiff(encoded: bytes) -> str | None:
    """What a TIFF that Pillow does not read consists of, "6 bands of 16 bits"; None where it is no TIFF."""
    try:
        file = io.BytesIO(encoded)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        bands, bits = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1), tags[TiffImagePlugin.BITSPERSAMPLE][0]
    except Exception:  # damaged headers raise nearly anything; then nothing better is known
        return None
    return f"{bands} band{'' if bands == 1 else 's'} of {bits} bits"


def _trust_the_order_of_libtiff(picture: Any) -> None:
    """It gives numbers in the machine's order, whatever the file's; Pillow knows that of unsigned ones only."""
    if _NATIVE == "L":
        picture.tile = [
            _with_raw_mode(tile, re.sub(r";(16|32)B", r";\1", _raw_mode(tile))) if tile[0] == "libtiff" else tile
            for tile in picture.tile
        ]


def _colours(picture: Any) -> tuple[str, str] | None:
    """(bands, byte order) of a picture that Pillow would cut to 8 bits; None: of another kind."""
    for tile in getattr(picture, "tile", ()):
        found = _COLOURS.fullmatch(_raw_mode(tile))
        if found:
            return found[1], _NATIVE if found[2] == "N" else found[2]
    return None


def _unpacked(opened: Opened, raw_mode: str) -> np.ndarray:
    """uint8 (H, W, bands), upright, of a picture whose bytes are taken for `raw_mode`."""
    with opened() as picture:
        loading: Any = picture
        loading.tile = [_with_raw_mode(tile, raw_mode) for tile in loading.tile]
        return np.asarray(ImageOps.exif_transpose(picture))


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _with_raw_mode(tile: Any, mode: str) -> Any:
    arguments = mode if isinstance(tile[3], str) else (mode, *tile[3][1:])
    # Before Pillow 11 a tile is a plain tuple.
    return tile._replace(args=arguments) if hasattr(tile, "_replace") else (*tile[:3], arguments)


def _is_signed(picture: Any) -> bool:
    tags = getattr(picture, "tag_v2", None)
    return tags is not None and _SIGNED in tuple(tags.get(TiffImagePlugin.SAMPLEFORMAT, ()))
