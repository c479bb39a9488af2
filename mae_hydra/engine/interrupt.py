"""Leaving in an orderly way: Ctrl-C, a closed terminal, a scheduler's SIGTERM, or Slurm's SIGUSR1 or SIGUSR2."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import torch

from mae_hydra.distributed import any_rank, is_main, world_size
from mae_hydra.signals import heeded


class Interrupted(Exception):
    """The run was asked to stop and has saved its state after `step` steps; by `signal`, where this process got it."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: "start the same command again"

    def __init__(self, step: int, signal: int | None = None) -> None:
        super().__init__(f"interrupted after step {step}, state saved")
        self.step, self.signal = step, signal


class _Abandon(BaseException):
    """Leaves a block from within the signal handler. No Exception: nothing on its way may catch it."""


class Interruption:
    """A context in which a signal only sets a flag for the loop to see, and a second Ctrl-C is a KeyboardInterrupt."""

    def __init__(self) -> None:
        self.signal: int | None = None  # the one that asked
        self._flag = False
        self._abandonable = False
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._previous = {number: signal.signal(number, self._handle) for number in heeded()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def requested(self, device: torch.device, *, together: bool) -> bool:
        """Whether to stop now. Several processes must stop at the same step: they decide where all ask `together`."""
        if world_size() > 1:
            return together and any_rank(self._flag, device)
        return self._flag

    @contextmanager
    def abandons(self) -> Iterator[None]:
        """A block that a signal may leave in the middle, because it can be done again (in a single process)."""
        try:
            self._abandonable = world_size() == 1
            yield
        except _Abandon:
            pass
        finally:
            self._abandonable = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loading process, forked with this handler: a terminal tells it too
            if number not in (signal.SIGINT, signal.SIGHUP):
                os._exit(128 + number)
            return
        if self._flag:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._flag, self.signal = True, number
        said = b"\nStopping: the step is finished and the state saved. Ctrl-C again leaves without saving.\n"
        with suppress(OSError):  # the terminal may be what has gone
            os.write(2, said if is_main() else b"")  # not print: the signal may have come in the middle of one
        if self._abandonable:
            raise _Abandon
