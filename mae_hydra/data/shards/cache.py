"""Shards that lie elsewhere: a copy of each on this machine's disk, made when it is first needed or shortly before.

They lie in a subfolder of the cache's own. All loading processes of all training processes of a machine share them; the
longest unused go where the room that was granted is full, and nothing but such copies ever goes. `http` and `https` are
read with Python's own library, other addresses (`s3://`, `gs://`) with fsspec, which asks for a package of their own.
"""

import errno
import fcntl
import hashlib
import logging
import os
import re
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
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
PAUSE = 1.0  # seconds before the second try; doubled before every other one
TIMEOUT = 60.0  # seconds without a byte
SUBFOLDER = "mae_hydra_shards"
LONGEST = 80  # letters of an address in the name of its copy
_COPY = re.compile(r"[0-9a-f]{12}-.*", re.DOTALL)


class Unreachable(UserError):
    """A file elsewhere cannot be had."""


def is_address(path: str) -> bool:
    return "://" in path


class ShardCache:
    """Copies of files from elsewhere in a subfolder of `folder`, of `most_bytes` together."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder / SUBFOLDER, most_bytes

    def local(self, address: str, size: int | None = None) -> Path:
        """The copy of a file, made if there is none; UserError where it cannot be had, or not with `size` bytes."""
        path = self._path(address)
        with suppress(FileNotFoundError):
            if size is None or path.stat().st_size == size:
                with suppress(PermissionError):  # another person's copy serves as well
                    os.utime(path)  # used just now
                return path
        self._make_folder()
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
        self._make_folder()
        with atomic.writing(path) as temporary:
            fetch(address, temporary, None)
        return path

    def _path(self, address: str) -> Path:
        """A name that two addresses do not share, and that tells a person what it is."""
        digest = hashlib.blake2b(address.encode(), digest_size=6).hexdigest()
        return self.folder / f"{digest}-{address.rsplit('/', 1)[-1][-LONGEST:]}"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make {self.folder} for copies of shards: {error.strerror}; name another folder with data.cache"
            ) from error
        atomic.check_writable(self.folder, "name another folder with data.cache")

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """One process at a time fetches a file; the others wait for it. The lock goes with a process that dies."""
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make_room(self, wanted: int) -> None:
        """Drop the longest unused copies. Who reads one has it open, and can read on."""
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if _COPY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        free = self.most_bytes - sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if free >= wanted:
                return
            with suppress(PermissionError):  # of another person, in a folder where each may remove their own only
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
            if isinstance(error, OSError) and error.errno in FULL:
                raise UserError(
                    f"cannot keep a copy of {address} in {target.parent}: {error.strerror}; make room there, or name "
                    "another folder with data.cache"
                ) from error
            reason = str(error) or type(error).__name__
            if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410):
                break
        log.warning("%s: %s (try %d of %d)", address, reason, attempt + 1, TRIES)
    raise Unreachable(f"cannot get {address}: {reason}; see that it is there and can be reached, then start again")


def opened(address: str) -> IO[bytes]:
    """A file elsewhere, open for reading."""
    if address.startswith(("http://", "https://")):
        answer: Any = urllib.request.urlopen(address, timeout=TIMEOUT)
        return answer
    try:
        return fsspec.open(address, "rb").open()
    except (ImportError, ValueError) as error:
        raise Unreachable(
            f"cannot read {address}: {error}; or copy the shards to a disk and name that folder"
        ) from error
