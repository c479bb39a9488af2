"""Which image files a folder holds, in a fixed order, for trees of millions of files."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

import numpy as np

from mae_hydra.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")


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


def find_images(root: Path, extensions: tuple[str, ...] = EXTENSIONS) -> list[str]:
    """Paths relative to `root` ("a/b.jpg") of every image below it, sorted.

    Hidden files and folders are left out (".ipynb_checkpoints", macOS's "._photo.jpg"), links are followed.
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


def existing_folder(root: str | os.PathLike[str] | None, wanted: str) -> Path:
    """`data.root` as a path to a folder that exists; `wanted` says what it should hold, and what else can be done."""
    if root is None or not str(root):
        raise UserError(f"data.root is not set; {wanted}")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(f"data.root={root} is {'not a folder' if path.exists() else 'not there'}; {wanted}")
    return path
