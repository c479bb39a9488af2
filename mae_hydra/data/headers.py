"""What the header of an image file tells, without its pixels.

Shape letters: H W pixels.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mae_hydra.data.dataset import Header
from mae_hydra.data.decoding.bands import band_header
from mae_hydra.data.decoding.decode import NO_RANGE, orientation, reason_of, upright_size
from mae_hydra.data.decoding.deep import is_deep
from mae_hydra.data.decoding.opening import opened
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.listing import file_stamp
from mae_hydra.errors import UserError

_MARKS_OF_ORIENTATION = (b"eXIf", b"tiff:Orientation", b"Raw profile type")


def read_header(source: Path | bytes, name: str = "") -> Header:
    """Of a file, or of the bytes of the file `name`; UserError naming it where they are no picture."""
    try:
        with opened(source) as picture:
            mode, deep = picture.mode, is_deep(picture)  # first: EXIF may load the picture
            turn = orientation(picture) if _may_be_turned(picture, source) else 1
            told = picture.info.get("original_orientation")  # of HEIC, whose reader turns it itself
            return Header(upright_size(picture, turn), mode, deep, turn if told is None else told)
    except Exception as error:  # damaged files raise nearly anything inside Pillow
        bands = band_header(source if isinstance(source, bytes) else source.read_bytes()) if _is_there(source) else None
        if bands is not None:
            size, kind = bands
            return Header(size, "bands", kind.itemsize > 1, 1)
        if isinstance(source, Path) and isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"cannot read {source}: {error.strerror}") from error
        beginning = source if isinstance(source, bytes) else source.read_bytes()
        reason = reason_of(error, beginning)
        place = name if isinstance(source, bytes) else source
        raise UserError(f"cannot read the image {place}: {reason}; replace the file or remove it") from error


def _is_there(source: Path | bytes) -> bool:
    return isinstance(source, bytes) or source.is_file()


def _may_be_turned(picture: Image.Image, source: Path | bytes) -> bool:
    """A PNG may tell its orientation behind its pixels, for which Pillow decodes them; few do, and bytes show it."""
    if picture.format != "PNG":
        return True
    content = source if isinstance(source, bytes) else source.read_bytes()
    return any(mark in content for mark in _MARKS_OF_ORIENTATION)


def image_header(source: Path | bytes, pixel_range: PixelRange | None, name: str = "") -> Header:
    """`read_header` of an image; UserError also where it has more than 8 bits and the set has no range for them."""
    header = read_header(source, name)
    if header.deep and pixel_range is None:
        raise UserError(f"cannot read the image {name if isinstance(source, bytes) else source}: {NO_RANGE}")
    return header


def digest_of(files: Iterable[Path], *facts: object) -> str:
    """A digest of the files' names, sizes and times, and of `facts`: sixteen hex digits."""
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=8)
    for file in files:
        try:
            digest.update(f"{file} {file_stamp(file)}\n".encode(errors="surrogateescape"))
        except UserError:  # gone: it is named when it is its turn
            digest.update(f"{file}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
