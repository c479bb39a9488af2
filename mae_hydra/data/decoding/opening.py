"""Opening a picture with Pillow, of which the header alone is read."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from PIL import Image

from mae_hydra.data.decoding.deep import refuse_separate_planes
from mae_hydra.data.listing import READS_HEIF

MOST_PIXELS = 2**30  # Pillow's own limit, a sixth of this, is below what aerial photographs and scans have
MOST_NUMBERS = 2**32  # of all bands together
_READ_BY_TORCHVISION = ("JPEG", "MPO")  # which turns by EXIF alone
_XMP = ("xmp", "XML:com.adobe.xmp")  # of Pillow, which would turn by it too


for _reader in ("PIL.TiffImagePlugin", "tifffile"):  # what they say of odd files, an error's own words say
    logging.getLogger(_reader).setLevel(logging.CRITICAL)
if READS_HEIF:
    import pillow_heif

    pillow_heif.register_heif_opener()


class _PillowsLimit:
    """Lifted while a picture is opened. It is one for all threads: the first of them lifts it, the last puts it back,
    and none waits for the disk of another."""

    def __init__(self) -> None:
        self._lock, self._opening = Lock(), 0
        self._limit: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._opening:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._opening += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._opening -= 1
            if not self._opening:
                Image.MAX_IMAGE_PIXELS = self._limit


_WITHOUT_PILLOWS_LIMIT = _PillowsLimit()


@contextmanager
def opened(source: bytes | Path) -> Iterator[Image.Image]:
    """A picture of up to MOST_PIXELS; its header alone has been read, and Pillow's limit is back in its place."""
    with _WITHOUT_PILLOWS_LIMIT:
        opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    with opened as picture:
        if picture.format in _READ_BY_TORCHVISION:
            for key in _XMP:
                picture.info.pop(key, None)
        check_size(picture.height, picture.width)
        refuse_separate_planes(picture)
        yield picture


def check_size(height: int, width: int, bands: int = 1) -> None:
    """ValueError where a picture has more pixels or numbers than are read, which its header tells."""
    if height * width > MOST_PIXELS:
        raise ValueError(f"it has {width}x{height} pixels, more than the {MOST_PIXELS} that are read")
    if height * width * bands > MOST_NUMBERS:
        raise ValueError(f"it has {width}x{height} pixels of {bands} bands, more than the {MOST_NUMBERS} numbers read")
