"""A part of a JPEG, at a reduced scale if wanted, through libjpeg-turbo's own interface (TurboJPEG 3.0 or newer).

The library is taken from the system (Debian and Ubuntu: libturbojpeg; Homebrew: jpeg-turbo), or from the `turbojpeg`
wheel (extra `fast`), which brings it along, but not for Linux on ARM. Where neither is there, `region_decoder` is None
and callers decode the whole picture. PyTurboJPEG binds the same library, but not the cropping of what is decoded.

Shape letters: C channels, H W pixels.
"""

import ctypes
import ctypes.util
import importlib.metadata
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

_DECOMPRESS = 1  # TJINIT_DECOMPRESS
_STOP_ON_WARNING, _WIDTH, _HEIGHT = 0, 5, 6  # TJPARAM_*
_PIXELS = {1: 6, 3: 0}  # TJPF_GRAY, TJPF_RGB by channels
_ALIGNED = 32  # pixels: a multiple of every block that a JPEG may have, at every scale
_MARGIN = 2  # pixels around a region: the chroma of its edge is interpolated from beyond it


class _Region(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int))


class _Fraction(ctypes.Structure):
    _fields_ = (("num", ctypes.c_int), ("denom", ctypes.c_int))


class RegionDecoder:
    """Decodes parts of JPEGs; for one thread at a time."""

    _handle: int | None = None

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._begin()

    def size(self, encoded: bytes) -> tuple[int, int] | None:
        """(H, W) by the header; None where it cannot be read."""
        if self._library.tj3DecompressHeader(self._handle, encoded, len(encoded)):
            self._begin()
            return None
        return self._library.tj3Get(self._handle, _HEIGHT), self._library.tj3Get(self._handle, _WIDTH)

    def decode(self, encoded: bytes, channels: int, box: tuple[int, int, int, int], reduction: int) -> Tensor | None:
        """`box` (top, left, height, width) of the picture reduced by 1, 2, 4 or 8, in its pixels: uint8 (C, H, W).

        None where the library declines: damage, CMYK, a box beyond the picture.
        """
        whole = self.size(encoded)
        if whole is None:
            return None
        library, handle = self._library, self._handle
        top, left, height, width = box
        limits = [-(-side // reduction) for side in whole]
        y, x = max(top - _MARGIN, 0), max(left - _MARGIN, 0) // _ALIGNED * _ALIGNED
        bottom, right = min(top + height + _MARGIN, limits[0]), min(left + width + _MARGIN, limits[1])
        rows = torch.empty(bottom - y, right - x, channels, dtype=torch.uint8)
        pitch, pixels = rows.shape[1] * channels, _PIXELS[channels]
        if (
            library.tj3SetScalingFactor(handle, _Fraction(1, reduction))
            or library.tj3SetCroppingRegion(handle, _Region(x, y, right - x, bottom - y))
            or library.tj3Decompress8(handle, encoded, len(encoded), rows.data_ptr(), pitch, pixels)
        ):
            self._begin()
            return None
        return rows[top - y : top - y + height, left - x : left - x + width].permute(2, 0, 1)

    def _begin(self) -> None:
        """Afresh: after an error, what is read next may fail for what was left of it."""
        if self._handle is not None:
            self._library.tj3Destroy(self._handle)
        self._handle = self._library.tj3Init(_DECOMPRESS)
        self._library.tj3Set(self._handle, _STOP_ON_WARNING, 1)


@cache
def region_decoder() -> RegionDecoder | None:
    """The decoder of this process, or None where no TurboJPEG of version 3 is installed."""
    for name in _libraries():
        try:
            library = ctypes.CDLL(name)
            _declare(library)
        except (OSError, AttributeError):  # not there, or an older version without the functions
            continue
        return RegionDecoder(library)
    return None


def _libraries() -> Iterator[str]:
    found = ctypes.util.find_library("turbojpeg")
    if found is not None:
        yield found
    yield from ("libturbojpeg.so.0", "/opt/homebrew/lib/libturbojpeg.dylib")  # without ldconfig; Homebrew's
    try:
        files = importlib.metadata.files("turbojpeg") or []
    except importlib.metadata.PackageNotFoundError:
        return
    yield from (str(file.locate()) for file in files if file.name.startswith(("libturbojpeg", "turbojpeg.dll")))


def _declare(library: ctypes.CDLL) -> None:
    """Arguments as turbojpeg.h has them; AttributeError where a function is missing."""
    handle, data, size, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int
    library.tj3Init.restype, library.tj3Init.argtypes = ctypes.c_void_p, [number]
    library.tj3Destroy.restype, library.tj3Destroy.argtypes = None, [handle]
    library.tj3Get.argtypes = [handle, number]
    library.tj3Set.argtypes = [handle, number, number]
    library.tj3DecompressHeader.argtypes = [handle, data, size]
    library.tj3SetScalingFactor.argtypes = [handle, _Fraction]
    library.tj3SetCroppingRegion.argtypes = [handle, _Region]
    library.tj3Decompress8.argtypes = [handle, data, size, ctypes.c_void_p, number, number]
