"""Shards that lie elsewhere: a copy of each on this machine's disk, made when it is first needed or shortly before.

All loading processes of all training processes of a machine share the copies; the longest unused go where the room that
was granted is full. `http` and `https` are read with Python's own library, other addresses (`s3://`, `gs://`) with
fsspec, which asks for a package of their own.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fsspec

from mae_hydra import atomic
from mae_hydra.errors import UserError

log = logging.getLogger("mae_hydra")

TRIES = 4
PAUSE = 1.0  # seconds before the second try; doubled before every other one
ABANDONED = 3600.0  # seconds after which nobody is still writing
TIMEOUT = 60.0  # seconds without a byte


def is_address(path: str) -> bool:
    return "://" in path


class ShardCache:
    """Copies of files from elsewhere in `folder`, of `most_bytes` together."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes

    def local(self, address: str, size: int | None = None) -> Path:
        """The copy of a file, made if there is none; UserError where it cannot be had, or not with `size` bytes."""
        path = self._path(address)
        with suppress(FileNotFoundError):
            if size is None or path.stat().st_size == size:
                os.utime(path)  # used just now
                return path
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone(path):
            if path.is_file() and (size is None or path.stat().st_size == size):
                return path  # another process made it in the meantime
            self._make_room(size or 0)
            with atomic.writing(path) as temporary:
                fetch(address, temporary, size)
        return path

    def anew(self, address: str) -> Path:
        """The copy of a small file, as it is there now."""
        path = self._path(address)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic.writing(path) as temporary:
            fetch(address, temporary, None)
        return path

    def _path(self, address: str) -> Path:
        """A name that two addresses do not share, and that tells a person what it is."""
        digest = hashlib.blake2b(address.encode(), digest_size=6).hexdigest()
        return self.folder / f"{digest}-{address.rsplit('/', 1)[-1]}"

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """One process at a time fetches a file; the others wait for it. The lock goes with a process that dies."""
        with open(path.with_name(f".{path.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_room(self, wanted: int) -> None:
        """Drop the longest unused copies. Who reads one has it open, and can read on."""
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                if not path.name.startswith("."):
                    found.append((status.st_mtime, status.st_size, path))
                elif path.suffix == ".partial" and time.time() - status.st_mtime > ABANDONED:
                    path.unlink()  # of a process that was killed
        free = self.most_bytes - sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if free >= wanted:
                return
            path.unlink(missing_ok=True)
            free += size


def fetch(address: str, target: Path, size: int | None) -> None:
    """Copy a file from elsewhere to `target`, whole or not at all, trying again where the connection fails."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            with opened(address) as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            if size is None or target.stat().st_size == size:
                return
            reason = f"{target.stat().st_size} of {size} bytes came"
        except UserError:
            raise
        except Exception as error:  # every protocol has errors of its own
            reason = str(error) or type(error).__name__
            if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410):
                break
        log.warning("%s: %s (try %d of %d)", address, reason, attempt + 1, TRIES)
    raise UserError(f"cannot get {address}: {reason}; see that it is there and can be reached, then start again")


def opened(address: str) -> IO[bytes]:
    """A file elsewhere, open for reading."""
    if address.startswith(("http://", "https://")):
        answer: Any = urllib.request.urlopen(address, timeout=TIMEOUT)
        return answer
    try:
        return fsspec.open(address, "rb").open()
    except (ImportError, ValueError) as error:
        raise UserError(f"cannot read {address}: {error}; or copy the shards to a disk and name that folder") from error
