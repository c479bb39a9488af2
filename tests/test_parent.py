"""Processes that must not outlive the one that started them: whenever that one goes, before they begin too."""

import os
import signal
import time
from pathlib import Path

import pytest

from mae_hydra.parent import end_with


def is_gone(number: int, within: float = 20) -> bool:
    """Whether a process ends in so many seconds; one that nobody has waited for is gone too."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def child_of_a_killed(kill_before: bool) -> int:
    """The number of a process whose parent is killed before, or after, it says that it ends with that one."""
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        number = os.getpid()
        if os.fork() == 0:
            while kill_before and os.getppid() == number:
                time.sleep(0.001)
            os.write(write, str(os.getpid()).encode())
            end_with(number, signal.SIGKILL)
            os.write(write, b" ")
            time.sleep(600)
            os._exit(0)
        if kill_before:
            os.kill(number, signal.SIGKILL)
        time.sleep(600)
        os._exit(0)
    try:
        said = os.read(read, 32)
        while not kill_before and b" " not in said:
            said += os.read(read, 32)
    finally:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        os.close(read)
        os.close(write)
    return int(said)


@pytest.mark.parametrize("kill_before", [False, True], ids=["after", "before"])
def test_a_process_ends_with_its_parent(kill_before: bool) -> None:
    assert is_gone(child_of_a_killed(kill_before))
