"""Where in a tar file the samples lie, so that any of them can be read without what stands before it.

The files of a sample follow one another and have the same name up to the first dot behind the last slash (webdataset's
convention): `ab/0001.jpg`, `ab/0001.cls`. An index is kept beside its shard as `NAME.tar.index.npy`.
"""

import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from mae_hydra import atomic
from mae_hydra.data.listing import EXTENSIONS
from mae_hydra.errors import UserError, short

CLASS = "cls"  # a file with this ending holds a class id as decimal digits
DECODED = ".npy"  # pixels, as `shrink` writes them
BLOCK = 512  # bytes; every file in a tar begins at a multiple, behind a header of as many


def index_path(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.index.npy")


def read_index(shard: Path) -> np.ndarray:
    """int64 (samples, 4) of a shard on this machine: first byte and length of the image, and of the class id or 0, 0.

    From the file beside it, unless that is older, was made of a file of another size, or points outside of it; else the
    tar is read through, and the index left beside it where that can be written.
    """
    size = _size(shard)
    beside = index_path(shard)
    try:
        stored = np.load(beside, mmap_mode="r", allow_pickle=False)
        is_newer = beside.stat().st_mtime_ns >= shard.stat().st_mtime_ns
        is_index = stored.dtype == np.int64 and stored.ndim == 2 and stored.shape[1] == 4 and len(stored) > 1
        if is_newer and is_index and stored[0, 0] == size and _lies_within(stored[1:], size):
            return stored[1:]
    except Exception:  # whatever it is, it is no index
        pass
    found = scan(shard)
    with suppress(OSError):  # a read-only disk: it is found again the next time
        write_index(shard, found)
    return found


def write_index(shard: Path, index: np.ndarray) -> None:
    """Leave `index` beside its `shard`, with the size of the file that it was made of."""
    head = np.array([[_size(shard), 0, 0, 0]], dtype=np.int64)
    with atomic.writing(index_path(shard)) as temporary, open(temporary, "wb") as file:
        np.save(file, np.concatenate([head, index]), allow_pickle=False)


def scan(shard: Path) -> np.ndarray:
    """The index of a tar file, from its headers."""
    rows: list[list[int]] = []
    last = None
    try:
        with tarfile.open(shard, "r:") as archive:  # not compressed: bytes must lie where the headers say
            end = 0
            for member in archive:
                if (
                    member.size < 0 or member.offset_data < end
                ):  # Python's reader may go round in circles in such a file
                    raise tarfile.ReadError("a file in it ends before it begins")
                end = member.offset_data + (member.size if member.isfile() else 0)
                if not member.isfile() or member.issparse():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if (folder, stem) != last:
                    rows.append([0, 0, 0, 0])
                    last = (folder, stem)
                if f".{ending.lower()}" in (*EXTENSIONS, DECODED):
                    rows[-1][:2] = member.offset_data, member.size
                elif ending.lower() == CLASS:
                    rows[-1][2:] = member.offset_data, member.size
        if end > _size(shard):
            raise tarfile.ReadError("it ends in the middle of a file")
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in any way it likes
        raise UserError(
            f"cannot read the shard {shard} ({short(error)}): it is damaged, cut short or compressed; get it again, or "
            "unpack it with gunzip"
        ) from error
    found = np.array([row for row in rows if row[1]], dtype=np.int64).reshape(-1, 4)
    if not len(found):
        raise UserError(f"the shard {shard} holds no image ({' '.join(EXTENSIONS)})")
    return found


def _lies_within(rows: np.ndarray, size: int) -> bool:
    """Whether the bytes that all rows name are bytes of files in a tar of that size."""
    begin, length = rows[:, ::2], rows[:, 1::2]
    there = (begin >= BLOCK) & (length > 0) & (begin <= size) & (length <= size - begin)
    none = (rows[:, 2:] == 0).all(1)
    return bool((there[:, 0] & (there[:, 1] | none)).all())


def _size(shard: Path) -> int:
    try:
        return shard.stat().st_size
    except OSError as error:
        raise UserError(f"there is no shard {shard}; get it again, or take it out of the list") from error
