"""Runs forked from a process that has imported the program: real processes, without the seconds of imports.

For tests of what becomes of a run that is killed or goes on elsewhere; `test_interruption.start` starts one as a shell
does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@cache
def server() -> socket.socket:
    """One for all tests of this process; it ends when this end of the socket is closed, with the process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a request is read as it was sent
    command = [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(theirs.fileno())]
    started = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=ENVIRONMENT, start_new_session=True)
    started.returncode = 0  # nobody waits for it
    theirs.close()
    return ours


class Forked:
    """What `subprocess.Popen` with pipes and text gives, as far as it is needed here."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        self.returncode: int | None = None
        ours, theirs = socket.socketpair()
        self._said = ["", ""]
        pipes = [os.pipe(), os.pipe()]
        request = json.dumps({"command": command, "cwd": str(cwd), "environment": ENVIRONMENT}).encode()
        written = [write for _, write in pipes]
        socket.send_fds(server(), [request], [theirs.fileno(), *written])
        for descriptor in written:
            os.close(descriptor)
        theirs.close()
        self._answers = ours.makefile()
        ours.close()
        self.pid = int(self._answers.readline())
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
        with self._answers:
            self.returncode = int(self._answers.readline())

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


def start(cwd: Path, *overrides: str, program: Path = ROOT / "train.py") -> Forked:
    """`python train.py *overrides` in `cwd`, with outputs/ there."""
    return Forked([str(program), *overrides, "paths.output_root=outputs"], cwd)
