"""Which image files a folder holds, in a fixed order, for trees of millions of files."""

import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

import numpy as np

from mae_hydra.errors import UserError

READS_HEIF = importlib.util.find_spec("pillow_heif") is not None
HEIF_ENDINGS = (".heic", ".heif")  # of telephones; with the extra heif they are pictures like any other
EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".jpe", ".jfif",
    ".bmp", ".gif", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm",
    *(HEIF_ENDINGS if READS_HEIF else ()),
)  # fmt: skip
"""Endings of pictures that are read, in any case; of films (.gif, .tif) the first picture."""

ARRAYS = (".npy",)
WITH_ARRAYS = (*EXTENSIONS, *ARRAYS)  # where bands are wanted

JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif")  # never more than 8 bits a channel
UNREAD_PICTURES = (
    *(() if READS_HEIF else HEIF_ENDINGS), ".jxl", ".j2k", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".exr",
    ".hdr", ".dcm", ".nii", ".psd", ".svg", ".tga", ".ico", ".npy", ".mat", ".h5",
)  # fmt: skip
"""Endings of what somebody may take for a picture of the set, but is not read."""


class Names(Sequence[str]):
    """Many short strings held in two arrays.

    A list of a million `str` is copied into every worker process page by page, because reading one touches its
    reference count; arrays stay shared.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._bounds = np.fromiter(accumulate((len(name) for name in encoded), initial=0), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]  # negative positions and IndexError as in a list
        return os.fsdecode(self._text[self._bounds[position] : self._bounds[position + 1]].tobytes())

    def digest(self) -> str:
        """Sixteen hex digits that two lists of names do not share."""
        return hashlib.blake2b(self._text.tobytes() + self._bounds.tobytes(), digest_size=8).hexdigest()


def find_images(
    root: Path, extensions: tuple[str, ...] = EXTENSIONS, passed_over: Counter[str] | None = None
) -> list[str]:
    """Paths relative to `root` ("a/b.jpg") of every image below it, sorted.

    Hidden files and folders are left out (".ipynb_checkpoints", macOS's "._photo.jpg"), links are followed. All other
    files are counted by their ending in `passed_over`.
    """
    found: list[str] = []
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        folder, above = pending.pop()
        try:
            status = os.stat(root / folder)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                continue  # a link back to a folder it lies in
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        pending.append((f"{folder}{entry.name}/", above | {identity}))
                    elif entry.name.lower().endswith(extensions):
                        found.append(folder + entry.name)
                    elif passed_over is not None:
                        passed_over[os.path.splitext(entry.name)[1].lower()] += 1
        except OSError as error:
            raise UserError(f"cannot list the folder {root / folder}: {error.strerror or error}") from error
    return sorted(found)


def file_stamp(path: Path) -> str:
    """Size in bytes and time of change in nanoseconds: another content of the same name has others."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return f"{status.st_size} {status.st_mtime_ns}"


def passed_over_note(where: object, passed_over: Counter[str]) -> list[str]:
    """One line that counts and names what was not read, or none; a warning where pictures may be among it."""
    if not passed_over:
        return []
    kinds = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in passed_over.most_common(8))
    more = ", ..." if len(passed_over) > 8 else ""
    total = passed_over.total()
    level = "warning" if any(ending in UNREAD_PICTURES for ending in passed_over) else "note"
    way = "; convert the pictures among them, of which only some formats are read" if level == "warning" else ""
    if not READS_HEIF and not passed_over.keys().isdisjoint(HEIF_ENDINGS):
        way = "; pip install 'mae-hydra[heif]' reads .heic, convert other pictures among them"
    return [f"{level}: {total} file{'' if total == 1 else 's'} in {where} passed over: {kinds}{more}{way}"]


def existing_folder(root: str | os.PathLike[str] | None, wanted: str) -> Path:
    """`data.root` as a path to a folder that exists; `wanted` says what it should hold, and what else can be done."""
    if root is None or not str(root):
        raise UserError(f"data.root is not set; {wanted}")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(f"data.root={root} is {'not a folder' if path.exists() else 'not there'}; {wanted}")
    return path
