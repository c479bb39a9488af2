"""Files that are either whole or not there: written beside their name, flushed to the disk, then renamed.

What a process that was killed has left unfinished goes when the next one writes into the same folder. The names of
such leftovers tell whose they are, so that nothing else is ever taken for one.
"""

import ctypes
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

from mae_hydra.errors import UserError

_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{8}\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)\.partial", re.DOTALL)
ABANDONED = 7 * 24 * 3600.0  # seconds without a write, after which nobody on another machine is still at it
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2

_under_way: set[Path] = set()  # what this process is writing
_cleared: set[Path] = set()  # folders that this process has looked through


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; when the block ends without an error it becomes `path`.

    What is written may be a file or a folder. An error, or a kill, leaves what was at `path` as it was. A folder
    already there is replaced whole; where it holds something that the new one does not, it is kept under another name.
    """
    path = Path(path)
    _clear_once(path.parent)
    temporary = path.with_name(_partial_name(path.name))
    _under_way.add(temporary)
    _remove(temporary)
    try:
        yield temporary
        for file in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
            sync(file)
        if temporary.is_dir() and path.is_dir():  # a folder cannot be renamed over one that holds something
            aside = kept_aside(path, set(os.listdir(temporary)))
            if aside is None:
                _exchange(temporary, path)
            else:
                os.replace(path, aside)  # under a name that nothing removes, should we be killed here
                os.replace(temporary, path)
        else:
            os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # of a write
            error.filename = str(path)
        raise
    finally:
        _remove(temporary)
        _under_way.discard(temporary)


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """A folder for this process alone, among the system's temporary files; it goes afterwards.

    Where the process is killed first, it goes when the next one asks for such a folder.
    """
    root = Path(tempfile.gettempdir())
    clear_leftovers(root)
    folder = root / _partial_name(f"{name}-{secrets.token_hex(4)}")
    _under_way.add(folder)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder)
        _under_way.discard(folder)


def write_text(path: Path, text: str) -> None:
    """Have `text` in the file at `path`, as UTF-8; what UTF-8 has no letter for is written as an escape."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`; a copy where the file system has no hard links."""
    with writing(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def kept_aside(path: Path, names: set[str]) -> Path | None:
    """Where a folder at `path` goes when one of `names` alone takes its place; None where nothing would be lost."""
    others = set(os.listdir(path)) - names if path.is_dir() else set()
    if all(_LEFTOVER.fullmatch(name) for name in others):
        return None
    candidates = (path.with_name(f"{path.name}.old{number or ''}") for number in count())
    return next(candidate for candidate in candidates if not os.path.lexists(candidate))


def check_writable(path: Path, way_out: str) -> None:
    """UserError with the `way_out` where no folder `path` could be made or written to: before any work is done."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"cannot write to {path}: {existing} is a file; {way_out}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {path}: {existing} may not be written to; {way_out}")


def clear_leftovers(folder: Path) -> None:
    """Remove what processes that are gone have left unfinished in `folder`, and nothing else."""
    with suppress(OSError):  # it is not there, or not ours
        for name in os.listdir(folder):
            if (match := _LEFTOVER.fullmatch(name)) and _is_abandoned(folder / name, match):
                with suppress(OSError):
                    _remove(folder / name)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear_once(folder: Path) -> None:
    if folder not in _cleared:
        _cleared.add(folder)
        clear_leftovers(folder)


def _partial_name(name: str) -> str:
    """Short enough for any file system however long `name` is, and of this process alone."""
    digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
    return f".{name[:40]}.{digest}.{_machine()}-{os.getpid()}.partial"


def _is_abandoned(path: Path, match: re.Match[str]) -> bool:
    if path in _under_way:
        return False
    if match["machine"] != _machine():  # its processes cannot be seen from here
        return time.time() - path.stat().st_mtime > ABANDONED
    process = int(match["process"])
    if process == os.getpid():
        return True  # of an earlier process of the same number
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's
        return False
    return False


@cache
def _machine() -> str:
    """Eight hex digits: within them a process number means one process. Containers of one machine differ."""
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    return hashlib.blake2b("\0".join(facts).encode(), digest_size=4).hexdigest()


def _exchange(temporary: Path, path: Path) -> None:
    """Let two folders change places, at once where the system can; `path` is there at any moment."""
    try:
        code = ctypes.CDLL(None).renameat2(
            AT_FDCWD, os.fsencode(temporary), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE
        )
    except AttributeError:  # no Linux, or an old one
        code = -1
    if code != 0:
        aside = temporary.with_suffix(".old")
        os.replace(path, aside)
        os.replace(temporary, path)
        os.replace(aside, temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
