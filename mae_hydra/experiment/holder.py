"""Who holds a run directory: the one process that writes there, known by a lock and by a heartbeat.

The lock (`.lock`, flock) is the kernel's: it is gone when the last process that has it is gone, however it ended. Where
the file system hands locks on between machines, that is all. Where it does not, a process elsewhere is known by its
heartbeat: `.heartbeat-<n>`, a few bytes that change every `BEAT` seconds. Nobody compares clocks: who comes later
looks for `PATIENCE` seconds whether they change.

Every holder has a file of its own, numbered one higher than the one before, and made in a way that only one process
succeeds with. So of two that come together one wins, nobody writes into another's file, and a holder that was taken for
dead (a machine that stood still) finds a higher number when it wakes up: it ends at once, without writing anything.
"""

import fcntl
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mae_hydra.errors import FULL, UserError

BEAT = 10.0  # seconds between two heartbeats
PATIENCE = 60.0  # seconds without one after which a holder on another machine counts as gone
LOCK_PATIENCE = 3.0  # seconds for processes that are just ending, or only looking
LONG_SILENCE = 900.0  # seconds; for showing the state of runs only, where nobody waits
LOCK, FREE = ".lock", b"free"
SIZE = 512  # bytes of a heartbeat, always as many: one write, of which nobody sees a half
_NAME = re.compile(r"\.heartbeat-(\d+)")
_descriptors: set[int] = set()  # of locks that this process has; its forks must not keep them


class Refused(UserError):
    """The directory is another process's, or another run's; it stays as it is."""


@dataclass(frozen=True)
class _Beat:
    """A holder's file: its number, and what it held when it was looked at."""

    number: int
    content: bytes

    @property
    def free(self) -> bool:
        """Whether its holder has let go in order."""
        return self.content.strip() == FREE

    @property
    def told(self) -> dict[str, object]:
        with suppress(ValueError):
            content = json.loads(self.content)
            if isinstance(content, dict):
                return content
        return {}

    @property
    def holder(self) -> str:
        record = self.told
        since = f" since {record['since']}" if "since" in record else ""
        return f"process {record.get('pid', 'unknown')} on {record.get('host', 'an unknown machine')}{since}"


@contextmanager
def holding(run_dir: Path) -> Iterator[list[int]]:
    """Be the one that writes in `run_dir` for as long as the block lasts.

    Gives the descriptors to hand to processes that belong to this one, which then hold the lock together.
    Refused where another process is there. Waits for PATIENCE seconds where only a heartbeat can tell.
    """
    lock = _lock(run_dir)
    _descriptors.add(lock)
    try:
        try:
            mine = _claim(run_dir)
        except OSError as error:
            raise _unwritable(run_dir, error) from error
        ended = threading.Event()
        heart = threading.Thread(target=_keep_beating, args=(run_dir, mine, ended), name="heartbeat", daemon=True)
        heart.start()
        try:
            yield [lock]
        finally:
            ended.set()
            heart.join(BEAT)
            with suppress(OSError):  # a directory that was removed, or a full disk: the lock is let go all the same
                _write(_file(run_dir, mine), FREE)
    finally:
        _descriptors.discard(lock)
        os.close(lock)


def is_held(run_dir: Path) -> bool:
    """Whether a process holds `run_dir`; looks once, without waiting.

    Of another machine whose locks are not seen here: whether its heartbeat is younger than LONG_SILENCE. That is good
    enough to show; `holding` looks more closely.
    """
    newest = _newest(run_dir)
    if newest is None or newest.free:
        return False
    try:
        lock = os.open(run_dir / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return not _silent_for_long(run_dir, newest)
    finally:
        os.close(lock)
    return newest.told.get("boot") != boot_id() and not _silent_for_long(run_dir, newest)


def boot_id() -> str:
    """This machine since it was started: the same in all its containers, whatever they call themselves."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return secrets.token_hex(8)  # never another's, so that its heartbeat is looked at


def belongs_here(descriptor: int) -> None:
    """Take over a lock that a process which started this one handed on: forks of this one must not keep it."""
    os.set_inheritable(descriptor, False)
    _descriptors.add(descriptor)


def _forget_in_forks() -> None:
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_forget_in_forks)  # loading processes may outlive a killed training for a moment


def _lock(run_dir: Path) -> int:
    try:
        descriptor = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(run_dir, error) from error
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise _refusal(run_dir, _newest(run_dir)) from None
            time.sleep(0.05)
        except OSError:  # no locks on this file system: the heartbeat alone tells
            return descriptor


def _unwritable(run_dir: Path, error: OSError) -> UserError:
    room = "make room there, or " if error.errno in FULL else ""
    return UserError(f"{run_dir} cannot be written to ({error.strerror}); {room}use another directory")


def _claim(run_dir: Path) -> int:
    """The number of this process's own file, once nobody else holds the directory."""
    while True:
        last = _newest(run_dir)
        if last is not None and not last.free and not _surely_gone(run_dir, last):
            _watch(run_dir, last)
        number = 1 if last is None else last.number + 1
        try:
            descriptor = os.open(_file(run_dir, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # somebody else was faster: look at that one
            continue
        os.close(descriptor)
        if max(_numbers(run_dir)) > number:  # we stood still, and others came and went under this number and the next
            with suppress(OSError):
                _file(run_dir, number).unlink()
            continue
        _write(_file(run_dir, number), _content())
        for old in _numbers(run_dir):
            if old < number:
                with suppress(OSError):
                    _file(run_dir, old).unlink()
        return number


def _surely_gone(run_dir: Path, last: _Beat) -> bool:
    """A holder on this machine would have the lock, which is ours; unless there are no locks here."""
    return last.told.get("boot") == boot_id() and _locks_work(run_dir)


def _locks_work(run_dir: Path) -> bool:
    """Whether a second descriptor is refused the lock that this process has."""
    descriptor = os.open(run_dir / LOCK, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _watch(run_dir: Path, last: _Beat) -> None:
    """Return when the holder has not stirred for PATIENCE seconds, or has let go; Refused as soon as it stirs."""
    print(f"{run_dir} was last held by {last.holder}; looking for {PATIENCE:.0f} s whether it still lives", flush=True)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(min(0.5, PATIENCE / 10))
        now = _newest(run_dir)
        if now is None or now.free:
            return
        if now != last:
            raise _refusal(run_dir, now)


def _refusal(run_dir: Path, beat: _Beat | None) -> Refused:
    holder = "another process" if beat is None or beat.free else beat.holder
    return Refused(f"{run_dir} is being trained by {holder}; wait for it or stop it, then start the same command again")


def _keep_beating(run_dir: Path, mine: int, ended: threading.Event) -> None:
    since = _now()
    while not ended.wait(BEAT):
        with suppress(OSError):  # a disk that is full or away for a while: the next one may go through
            if max(_numbers(run_dir), default=mine) > mine:
                _give_way(run_dir)
            _write(_file(run_dir, mine), _content(since))


def _give_way(run_dir: Path) -> None:
    """Another process has taken over. Whatever this one would still write would be written into that one's run."""
    newest = _newest(run_dir)
    who = "another process" if newest is None else newest.holder
    os.write(2, f"\nerror: {run_dir} was taken over by {who} while this one did not answer; it ends\n".encode())
    sys.stdout.flush()
    os._exit(1)


def _content(since: str | None = None) -> bytes:
    record = {"host": socket.gethostname(), "pid": os.getpid(), "since": since or _now(), "boot": boot_id()}
    return json.dumps(record | {"token": secrets.token_hex(8)}).encode()


def _write(file: Path, content: bytes) -> None:
    """Write the lock in place: that needs no room on a full disk, and other machines see it without a new look-up."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.pwrite(descriptor, content.ljust(SIZE), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _newest(run_dir: Path) -> _Beat | None:
    number = max(_numbers(run_dir), default=None)
    if number is None:
        return None
    try:
        return _Beat(number, _file(run_dir, number).read_bytes())
    except FileNotFoundError:  # gone meanwhile, for a newer one
        return _newest(run_dir)


def _numbers(run_dir: Path) -> list[int]:
    try:
        names = os.listdir(run_dir)
    except FileNotFoundError:
        return []
    return [int(match[1]) for match in map(_NAME.fullmatch, names) if match]


def _file(run_dir: Path, number: int) -> Path:
    return run_dir / f".heartbeat-{number}"


def _silent_for_long(run_dir: Path, beat: _Beat) -> bool:
    try:
        return time.time() - _file(run_dir, beat.number).stat().st_mtime > LONG_SILENCE
    except OSError:
        return True


def _now() -> str:
    """Write the time for people; nothing is computed from it."""
    return time.strftime("%Y-%m-%d %H:%M:%S")
