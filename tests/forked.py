"""Runs forked from a process that has imported the program: real processes, without the seconds of imports.

For tests of what becomes of a run that is killed or goes on elsewhere, and of whatever else needs a process and not its
start; `test_interruption.start` starts one as a shell does.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
NAME = f"mae_hydra-tests-{os.getpid()}"  # the server's address, in Linux's abstract namespace
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "FORK_SERVER": NAME}


@cache
def _server() -> tuple[subprocess.Popen, str]:
    """One for all tests of this process; it ends when its input is closed, with the process."""
    folder = tempfile.mkdtemp(prefix=NAME)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    stand_in = Path(folder, "python")
    stand_in.write_text(f"#!{sys.executable} -IS\n" + HERE.joinpath("forked_python.py").read_text())
    stand_in.chmod(0o755)
    command = [sys.executable, str(HERE / "fork_server.py"), NAME, str(stand_in)]
    until, _ = os.pipe()  # the other end is closed with this process
    started = subprocess.Popen(command, stdin=until, stdout=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True)
    os.close(until)
    assert started.stdout is not None
    with started.stdout as said:
        assert said.readline() == b"listening\n"
    started.returncode = 0  # nobody waits for it
    return started, str(stand_in)


def python() -> str:
    """An executable that takes what Python takes and is forked; it needs FORK_SERVER in its environment."""
    return _server()[1]


def children(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process starts as Python is forked, also by multiprocessing."""
    monkeypatch.setattr(sys, "executable", python())
    monkeypatch.setattr("multiprocessing.spawn._python_exe", os.fsencode(python()))
    monkeypatch.setenv("FORK_SERVER", NAME)


class Forked:
    """What `subprocess.Popen` with pipes and text gives, as far as it is needed here."""

    def __init__(self, arguments: list[str], cwd: Path) -> None:
        self.returncode: int | None = None
        self._said = ["", ""]
        python()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect("\0" + NAME)
        pipes = [os.pipe(), os.pipe()]
        given = [os.open(os.devnull, os.O_RDONLY), *(write for _, write in pipes)]
        request = json.dumps({"arguments": arguments, "cwd": str(cwd), "environment": ENVIRONMENT}).encode()
        socket.send_fds(self._server, [request], given)
        for descriptor in given:
            os.close(descriptor)
        self.pid = int(self._server.recv(32))
        self._readers = [
            threading.Thread(target=self._read, args=(place, read), daemon=True)
            for place, (read, _) in enumerate(pipes)
        ]
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        for thread in (*self._readers, self._waiter):
            thread.start()

    def _read(self, place: int, descriptor: int) -> None:
        with open(descriptor, errors="replace") as pipe:
            self._said[place] = pipe.read()

    def _wait(self) -> None:
        with self._server:
            self.returncode = int(self._server.recv(32))

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        for thread in (self._waiter, *self._readers):
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self._said[0], self._said[1]


def run(cwd: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`python arguments`, forked, in an environment with `more` in it; to its end."""
    command, environment = [python(), *arguments], ENVIRONMENT | more
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def start(cwd: Path, *overrides: str, program: Path = ROOT / "train.py") -> Forked:
    """`python train.py *overrides` in `cwd`, with outputs/ there."""
    return Forked([str(program), *overrides, "paths.output_root=outputs"], cwd)
