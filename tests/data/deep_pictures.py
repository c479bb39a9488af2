"""Files of more than 8 bits a channel, written from their formats' definitions."""

import struct
import zlib

import numpy as np

PNG_KIND = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by channels


def png(values: np.ndarray, exif: bytes = b"") -> bytes:
    """uint16 (H, W, C) as a PNG of 16 bits."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_KIND[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = (parts[0], (b"eXIf", exif), *parts[1:]) if exif else parts
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def tiff(
    values: np.ndarray,
    *,
    colours: bool = False,
    extra: tuple[int, ...] = (),
    big_endian: bool = False,
    compressed: bool = False,
    planes: bool = False,
    orientation: int = 1,
) -> bytes:
    """(H, W, B) of any type as a TIFF; `extra`: kinds of the bands beyond grey, or beyond the three colours."""
    height, width, bands = values.shape
    stored = values.astype(values.dtype.newbyteorder(">" if big_endian else "<"))
    strips = [stored[:, :, band].tobytes() for band in range(bands)] if planes else [stored.tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    order = ">" if big_endian else "<"
    entries: dict[int, tuple[int, ...]] = {
        256: (width,), 257: (height,), 258: (8 * values.dtype.itemsize,) * bands, 259: (8 if compressed else 1,),
        262: (2 if colours else 1,), 273: (0,) * len(strips), 274: (orientation,), 277: (bands,), 278: (height,),
        279: tuple(map(len, strips)), 284: (2 if planes else 1,),
        339: ({"u": 1, "i": 2, "f": 3}[values.dtype.kind],) * bands,
    }  # fmt: skip
    if extra:
        entries[338] = extra
    pixels = 8 + 2 + 12 * len(entries) + 4 + sum(4 * len(each) for each in entries.values() if len(each) > 1)
    entries[273] = tuple(pixels + sum(map(len, strips[:number])) for number in range(len(strips)))
    directory, beyond = struct.pack(order + "H", len(entries)), b""
    begin = 8 + 2 + 12 * len(entries) + 4
    for tag, each in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(each)}I", *each)
        directory += struct.pack(order + "HHI", tag, 4, len(each))  # every number is a LONG
        directory += packed if len(each) == 1 else struct.pack(order + "I", begin + len(beyond))
        beyond += b"" if len(each) == 1 else packed
    mark = b"MM\0*" if big_endian else b"II*\0"
    return mark + struct.pack(order + "I", 8) + directory + b"\0\0\0\0" + beyond + b"".join(strips)
