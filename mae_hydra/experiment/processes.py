"""`engine.devices=N`: N processes on this machine, started by the one that was typed.

torchrun does as much, and more over several machines; this needs no other command, and each job of a sweep has its own
processes and port. A process that dies takes the others along; whatever signal comes here is handed on to all.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

from mae_hydra import atomic
from mae_hydra.engine import Interrupted
from mae_hydra.errors import UserError
from mae_hydra.experiment.status import Ending
from mae_hydra.signals import handing_on_signals

GRACE = 15.0  # seconds in which the others may save and end by themselves after one has failed
POLL = 0.05  # seconds


def num_processes(engine: Mapping[str, Any]) -> int:
    """Count the processes to start for the engine's part of a configuration: 1 where torchrun has started this one."""
    if "RANK" in os.environ or engine["devices"] == 1:
        return 1
    found = 0 if engine["device"] == "cpu" else torch.cuda.device_count()
    if engine["devices"] == "auto":
        return max(found, 1)
    count = int(engine["devices"])
    if found and count > found:
        raise UserError(f"engine.devices is {count}, but this machine has {found}; use engine.devices={found} or auto")
    return count


def run_in_processes(
    count: int,
    config: Mapping[str, Any],
    run_dir: Path,
    shared: Sequence[int] = (),
    replay: Mapping[str, Any] | None = None,
    start: tuple[Mapping[str, str], Mapping[str, Any]] | None = None,
) -> Ending:
    """Train what `config` (resolved) describes in `count` processes; how it ended, or the error of the one that
    failed first.

    They get the descriptors of `shared`, so that a directory is held until the last of them has ended. `replay`: not a
    training, but one step of it again (see `replay`). `start`: what the first of them writes down (`start.Start`).
    """
    # The store is the meeting point of the processes, on a port that the system has just found to be free.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    arguments = {"replay": replay, "start": start}
    with atomic.temporary_folder("mae_hydra") as folder:
        (folder / "job.json").write_text(
            json.dumps({"config": config, "run_dir": str(run_dir.absolute()), "shared": list(shared)} | arguments)
        )
        processes = [_start(rank, count, store.port, folder, shared) for rank in range(count)]
        try:
            with handing_on_signals(processes) as signals:
                order = _wait(processes)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        return _outcome(processes, order, folder, signals)


def _start(rank: int, count: int, port: int, folder: Path, shared: Sequence[int]) -> subprocess.Popen[bytes]:
    cores = len(os.sched_getaffinity(0))
    environment = {"OMP_NUM_THREADS": str(max(1, cores // count))} | os.environ
    environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    # As torchrun says to its processes that somebody else keeps the store.
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "mae_hydra.launching.worker", str(folder)]
    # A session of its own: a terminal's Ctrl-C comes once, through us. The pipe tells it when we are gone.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, start_new_session=True, pass_fds=tuple(shared)
    )


def _wait(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """Until all have ended; their ranks in the order in which they did."""
    order: list[int] = []
    deadline = float("inf")
    while len(order) < len(processes):
        for rank, process in enumerate(processes):
            if rank in order or process.poll() is None:
                continue
            order.append(rank)
            if process.returncode not in (0, Interrupted.exit_code):
                deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(POLL)
    return order


def _outcome(
    processes: list[subprocess.Popen[bytes]], order: list[int], folder: Path, signals: Sequence[int]
) -> Ending:
    files = {rank: folder / f"outcome.{rank}.json" for rank in order}
    outcomes = {rank: json.loads(file.read_text()) for rank, file in files.items() if file.is_file()}
    # What a process says of its own is worth more than the others' surprise at its end.
    for outcome in outcomes.values():
        if outcome["state"] == "mistake":
            raise UserError(outcome["error"])
    for rank in order:
        outcome = outcomes.get(rank)
        if outcome is None and -processes[rank].returncode in signals:  # it had not come to heeding it
            raise KeyboardInterrupt(signals[-1])
        if outcome is None:
            raise ProcessError(rank, _died(processes[rank].returncode), "")
        if outcome["state"] == "failed":
            raise ProcessError(rank, outcome["error"], outcome["traceback"])
    main = outcomes[0]
    if main["state"] == "interrupted":
        raise Interrupted(main["step"], main["signal"])
    if main["state"] == "stopped":
        raise KeyboardInterrupt
    return Ending(*main["value"])


def _died(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    advice = "; the system does that where memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name}{advice}"


class ProcessError(Exception):
    """One of the processes failed; `traceback` is its own."""

    def __init__(self, rank: int, message: str, traceback: str) -> None:
        super().__init__(f"process {rank}: {message}")
        if traceback:
            self.add_note(f"In process {rank}:\n{traceback}")
