"""Where in a tar file the samples lie, so that any of them can be read without what stands before it.

The files of a sample follow one another and have the same name up to the first dot behind the last slash (webdataset's
convention): `ab/0001.jpg`, `ab/0001.cls`. What follows that dot says what a file is; a picture of each sample is the
image, and where there are two, `data.image_suffix` tells which. An index is kept beside its shard, as
`NAME.tar.index.npy`, with what was told in its name (`NAME.tar.jpg.map.png.index.npy`).
"""

import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mae_hydra import atomic
from mae_hydra.data.listing import EXTENSIONS, JPEG_ENDINGS
from mae_hydra.errors import UserError, short

CLASS = "cls"  # a file with this ending holds a class id as decimal digits
DECODED = ".npy"  # pixels, as `shrink` writes them; beside a picture of another format they are something else
BLOCK = 512  # bytes; every file in a tar begins at a multiple, behind a header of as many
FORM = 2  # of an index; another number was made by other rules


class Endings(NamedTuple):
    """What tells the files of a sample apart: what follows the first dot of their names.

    `image`: of the images; None: any picture. `map`: of the class maps; None: samples have class ids.
    """

    image: str | None = None
    map: str | None = None

    @property
    def label(self) -> str:
        return self.map or CLASS

    @property
    def of_index(self) -> str:
        return "".join(f".{ending}" for ending in self if ending)


ANY = Endings()


class Scan(NamedTuple):
    """`rows`: int64 (samples, 4), first byte and length of the image, and of the class id or class map, or 0, 0.

    `passed_over`: names of pictures that belong to no sample by the convention ("0001.seg.png", links).
    """

    rows: np.ndarray
    passed_over: list[str]


def index_path(shard: Path, endings: Endings = ANY) -> Path:
    return shard.with_name(f"{shard.name}{endings.of_index}.index.npy")


def read_index(shard: Path, endings: Endings = ANY) -> np.ndarray:
    """The `rows` of a shard on this machine.

    From the file beside it, unless that is older, was made of a file of another size, or points outside of it; else the
    tar is read through, and the index left beside it where that can be written.
    """
    stored = _beside(shard, endings)
    if stored is not None:
        return stored[1:]
    found = scan(shard, endings)
    with suppress(OSError):  # a read-only disk: it is found again the next time
        write_index(shard, found, endings)
    return found.rows


def num_passed_over(shard: Path, endings: Endings = ANY) -> int:
    """How many pictures in a shard that `read_index` has read belong to no sample."""
    stored = _beside(shard, endings)
    return len(scan(shard, endings).passed_over) if stored is None else int(stored[0, 2])


def write_index(shard: Path, found: Scan, endings: Endings = ANY) -> None:
    """Leave an index beside its `shard`, with the size of the file that it was made of."""
    head = np.array([[_size(shard), FORM, len(found.passed_over), 0]], dtype=np.int64)
    with atomic.writing(index_path(shard, endings)) as temporary, open(temporary, "wb") as file:
        np.save(file, np.concatenate([head, found.rows]), allow_pickle=False)


def scan(shard: Path, endings: Endings = ANY) -> Scan:
    """The index of a tar file, from its headers."""
    samples: list[_Sample] = []
    passed_over: list[str] = []
    for member in _members(shard):
        folder, _, name = member.name.rpartition("/")
        kind = _kind(_ending(name), endings)
        if member.isdir() or kind is None:
            continue
        key = folder, name.partition(".")[0]
        if kind == "other picture" or not member.isreg():
            passed_over.append(member.name)
            continue
        if member.issparse():
            raise UserError(
                f"{member.name} in the shard {shard} is stored with holes (tar --sparse); write the shard without"
            )
        if not samples or samples[-1].key != key:
            samples.append(_Sample(key))
        samples[-1].add(member, kind, shard)
    rows = [sample.row() for sample in samples if sample.image is not None]
    if not rows:
        raise UserError(f"the shard {shard} holds no image ({_wanted(endings.image)}){_instead(passed_over)}")
    return Scan(np.array(rows, dtype=np.int64), passed_over)


def name_before(file: int, begin: int) -> str:
    """The name in the header before a file's bytes; of a very long one the first 100 characters."""
    header = os.pread(file, BLOCK, begin - BLOCK)
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0":  # the older form of tar keeps something else there
        prefix = header[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    return name.decode(errors="replace")


class _Sample:
    """The files of one sample, as they come."""

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key
        self.image: tarfile.TarInfo | None = None
        self._label: tarfile.TarInfo | None = None
        self._decoded = False

    def add(self, member: tarfile.TarInfo, kind: str, shard: Path) -> None:
        if kind == "class":
            self._label = member
        elif self.image is None or (self._decoded and kind == "picture"):
            self.image, self._decoded = member, kind == "pixels"
        elif kind == "picture":
            both = [_ending(each.name) for each in (self.image, member)]
            ending = next((each for each in both if f".{each}" in JPEG_ENDINGS), both[0])  # rather than a label map's
            raise UserError(
                f"{self.image.name} and {member.name} in the shard {shard} are two pictures of one sample; tell which "
                f"with data.image_suffix={ending} (of make-shards --index: --image-suffix {ending}), or "
                "with data.map_ending where the other is its class map"
            )

    def row(self) -> list[int]:
        assert self.image is not None
        label = (0, 0) if self._label is None else (self._label.offset_data, self._label.size)
        return [self.image.offset_data, self.image.size, *label]


def _kind(ending: str, endings: Endings) -> str | None:
    """What a file with this ending is: "picture", "pixels", "class", "other picture", or nothing known."""
    if ending == endings.label:
        return "class"
    if endings.image is not None:
        dotted = "." not in endings.image and ending.endswith(f".{endings.image}")
        return "picture" if ending == endings.image else "other picture" if dotted else None
    if f".{ending}" in EXTENSIONS:
        return "picture"
    if f".{ending}" == DECODED:
        return "pixels"
    return "other picture" if f".{ending.rpartition('.')[2]}" in EXTENSIONS else None


def _members(shard: Path) -> Iterator[tarfile.TarInfo]:
    """What a tar file holds; UserError where it cannot be read to its end."""
    try:
        with tarfile.open(shard, "r:") as archive:  # not compressed: bytes must lie where the headers say
            end = 0
            for member in archive:
                # Python's reader may go round in circles in such a file.
                if member.size < 0 or member.offset_data < end:
                    raise tarfile.ReadError("a file in it ends before it begins")
                end = member.offset_data + (member.size if member.isreg() and not member.issparse() else 0)
                yield member
        if end > _size(shard):
            raise tarfile.ReadError("it ends in the middle of a file")
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in any way it likes
        raise UserError(
            f"cannot read the shard {shard} ({short(error)}): it is damaged, cut short or compressed; get it again, or "
            "unpack it with gunzip"
        ) from error


def _beside(shard: Path, endings: Endings) -> np.ndarray | None:
    """The index that lies beside a shard, its head in the first row; None where it is not to be believed."""
    size, beside = _size(shard), index_path(shard, endings)
    try:
        stored = np.load(beside, mmap_mode="r", allow_pickle=False)
        is_newer = beside.stat().st_mtime_ns >= shard.stat().st_mtime_ns
        is_index = stored.dtype == np.int64 and stored.ndim == 2 and stored.shape[1] == 4 and len(stored) > 1
        if is_newer and is_index and (stored[0, 0], stored[0, 1]) == (size, FORM) and _lies_within(stored[1:], size):
            return stored
    except Exception:  # whatever it is, it is no index
        pass
    return None


def _wanted(suffix: str | None) -> str:
    return f"named <sample>.{suffix}" if suffix is not None else " ".join(EXTENSIONS)


def _ending(name: str) -> str:
    """What follows the first dot, "seg.png" of "a/0001.seg.png"."""
    return name.rpartition("/")[2].partition(".")[2].lower()


def _instead(passed_over: list[str]) -> str:
    if not passed_over:
        return ""
    ending = _ending(passed_over[0])
    return (
        f"; there is {passed_over[0]}, but a sample's name ends at its first dot, so that this is its '{ending}': take "
        f"those with data.image_suffix={ending}, or write names without other dots"
    )


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
