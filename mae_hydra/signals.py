"""Signals that ask a process to stop, and what hands them on to the processes that it has started."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(s for s in signal.Signals if s.name in {"SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"})


def heeded() -> list[signal.Signals]:
    """List the signals that ask this process to stop: all of SIGNALS, but no closed terminal under nohup."""
    return [s for s in SIGNALS if s.name != "SIGHUP" or signal.getsignal(s) is not signal.SIG_IGN]


@contextmanager
def handing_on_signals(processes: list[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Whatever asks this process to stop asks them; gives the signals that came."""
    got: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        got.append(number)
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    former = {number: signal.signal(number, hand_on) for number in heeded()}
    try:
        yield got
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
