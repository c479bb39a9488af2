"""What the header of an image file tells, without its pixels.

Shape letters: H W pixels.
"""

from pathlib import Path
from typing import NamedTuple

from mae_hydra.data.decode import opened, reason_of
from mae_hydra.errors import UserError

_ORIENTATION = 0x0112  # of EXIF
_ON_ITS_SIDE = (5, 6, 7, 8)  # of its values: rows become columns


class Header(NamedTuple):
    """`size`: (H, W), upright. `mode`: Pillow's word for what a pixel is, of the class map where there is one."""

    size: tuple[int, int]
    mode: str


def read_header(source: Path | bytes, name: str = "") -> Header:
    """Of a file, or of the bytes of the file `name`; UserError naming it where they are no picture."""
    try:
        with opened(source) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
            height, width = picture.size if turned else picture.size[::-1]
            return Header((height, width), picture.mode)
    except Exception as error:  # damaged files raise nearly anything inside Pillow
        if isinstance(source, Path) and isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"cannot read {source}: {error.strerror}") from error
        beginning = source if isinstance(source, bytes) else source.read_bytes()
        reason = reason_of(error, beginning)
        raise UserError(f"cannot read the image {name or source}: {reason}; replace the file or remove it") from error
