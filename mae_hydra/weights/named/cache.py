"""The cache of downloaded weights: a folder for each address, whose files are whole, with a record of what they are.

`MAE_HYDRA_CACHE`, or `~/.cache/mae_hydra`. What a person has put there by hand counts as if it had been downloaded, but
nothing is known of it beside what an address says. The record `.fetched.json` has the digest of every file, and they
are compared whenever the files are used. A process that downloads holds a lock beside the folder, which the system
takes back when it dies; the others wait. A download lies in `<folder>.partial` until it is whole and checked.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.errors import UserError, short, unwritable

VARIABLE = "MAE_HYDRA_CACHE"
WAY_OUT = f"name another folder with {VARIABLE}"
RECORD = ".fetched.json"
SPARE = 64 << 20  # bytes that a download leaves on the disk


def root() -> Path:
    """The folder of all downloaded weights."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mae_hydra"
    return Path(os.environ.get(VARIABLE) or usual).expanduser().absolute()


class Entry:
    """The files of one address. `folder`: where they lie when they are whole; `partial`: where, until then."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.partial = folder, folder.with_name(f"{folder.name}.partial")

    @property
    def record(self) -> dict[str, Any]:
        """What the download noted; empty where a person has put the files there, or it cannot be read."""
        try:
            row = json.loads((self.folder / RECORD).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        whole = isinstance(row, dict) and isinstance(row.get("files"), dict) and isinstance(row.get("main"), str)
        return row if whole else {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time downloads; UserError where the cache cannot be written to."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder.with_name(f".{self.folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(unwritable(error, WAY_OUT) or f"{self.folder.parent}: {error}; {WAY_OUT}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.partial.mkdir(exist_ok=True)
            yield
        except OSError as error:
            raise UserError(unwritable(error, WAY_OUT) or f"{self.folder}: {error}; {WAY_OUT}") from error
        finally:
            os.close(lock)

    def keep(self, main: str, files: Mapping[str, str], source: Mapping[str, Any]) -> None:
        """Let `files` of the partial folder, by name with their SHA-256, take their places.

        `main`, by which all are known, comes last.
        """
        for name in files:
            atomic.sync(self.partial / name)
        self.folder.mkdir(exist_ok=True)
        for name in [*(file for file in files if file != main), main]:
            if name == main:
                atomic.write_text(
                    self.folder / RECORD, json.dumps({**source, "main": main, "files": dict(files)}, indent=2)
                )
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.partial / name, self.folder / name)
        atomic.sync(self.folder)
        self.drop()

    def drop(self) -> None:
        """Remove what has been downloaded in part."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def check(self, said: str) -> None:
        """UserError where a file is no longer what was downloaded for the address `said`."""
        for name, digest in self.record.get("files", {}).items():
            file = self.folder / str(name)
            if not file.is_file() or digest_of(file) != digest:
                raise UserError(
                    f"{file} is not what was downloaded for {short(said)}; remove {self.folder}, and it is downloaded "
                    "again"
                )


def digest_of(file: Path, algorithm: str = "sha256") -> str:
    """`algorithm`: sha256, or md5, which is all that some tables tell, and no protection."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def check_room(size: int, folder: Path, what: str) -> None:
    """UserError where the disk has no room for `size` more bytes."""
    free = shutil.disk_usage(folder).free
    if size + SPARE > free:
        raise UserError(
            f"{short(what)} needs {size / 1e9:.2f} GB more, and {folder} has {free / 1e9:.2f} GB free; make room, or "
            f"{WAY_OUT}"
        )
