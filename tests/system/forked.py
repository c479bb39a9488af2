"""`python train.py …` as a process of its own that need not import anything any more: for tests that kill dozens.

They are forked from a server that has imported all and computed nothing: autograd does not survive a fork of a process
that has used it. Each has what tests ask of `subprocess.Popen`. Signals other than SIGKILL are for real processes
(`test_interruption`).
"""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

from mae_hydra.experiment.launch import launch

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["mae_hydra.experiment.job", "mae_hydra.evaluation", "mae_hydra.inference", "mae_hydra.models"]
)
_NUMBERS = count()


class Forked:
    """Training in the folder `cwd`; `first` is called in the process before it."""

    def __init__(self, cwd: Path, *overrides: str, first: Callable[[], None] | None = None) -> None:
        self._said = cwd / f"said-{next(_NUMBERS)}.txt"
        self._process = _SERVER.Process(target=_train, args=(cwd, overrides, self._said, first))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it said goes where errors go."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still running after {timeout} s: {self._said.read_text()}"
        return "", self._said.read_text()


def _train(cwd: Path, overrides: tuple[str, ...], said: Path, first: Callable[[], None] | None) -> None:
    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # pytest has put its own in their place
    os.chdir(cwd)
    sys.argv = ["train.py"]
    try:
        if first is not None:
            first()
        code = launch([*overrides, "paths.output_root=outputs"])
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)
