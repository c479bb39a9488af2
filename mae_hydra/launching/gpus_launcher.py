"""`hydra/launcher=gpus`: the jobs of a sweep side by side on this machine, each with devices that no other one has.

A job is a process of its own, so nothing of one is left behind for the next, and one that dies takes no other along.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra.core.utils import JobReturn

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.status import read_status
from mae_hydra.experiment.sweeps import SweepStopped
from mae_hydra.launching.sweep_jobs import HOME, OF_A_SWEEP, ProcessLauncher, SweepJob, jobs_in_words, last_line
from mae_hydra.names import clean
from mae_hydra.parent import end_with
from mae_hydra.signals import handing_on_signals

POLL = 0.1  # seconds


@dataclass
class _Running:
    job: SweepJob
    slot: int
    process: subprocess.Popen[bytes]


class GpusLauncher(ProcessLauncher):
    """`jobs` at a time, "auto" for as many as there are devices for; `devices_of_a_job` of them belong to each.

    On the CPU (`jobs` is a number then) the jobs share the cores evenly. Ctrl-C and SIGTERM are handed on to every
    job, each of which saves its state; the same command goes on.
    """

    __module__ = HOME

    def __init__(self, jobs: int | str, devices_of_a_job: int | str) -> None:
        self.jobs, self.devices_of_a_job = jobs, devices_of_a_job

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs = self.jobs_of(job_overrides, initial_job_idx)
        waiting = [job for job in jobs if not self.tell_complete(job)]
        if not waiting:
            return [job.found for job in jobs]
        slots = _slots(self.jobs, self.devices_of_a_job, len(waiting), str(self.config.engine.device))
        running, free = list[_Running](), list(range(len(slots)))
        processes: list[subprocess.Popen[bytes]] = []  # grows: a signal reaches all that were started
        stopped = False
        print(
            f"{jobs_in_words(len(waiting))}, {len(slots)} at a time; what each says goes to its console.log", flush=True
        )
        with handing_on_signals(processes) as signals:
            while waiting or running:
                while waiting and free and not signals and not stopped:
                    job, slot = waiting.pop(0), free.pop(0)
                    running.append(_Running(job, slot, _start(job, slots[slot])))
                    processes.append(running[-1].process)
                    on = slots[slot].get("CUDA_VISIBLE_DEVICES")
                    print(f"job {job.number} started{f' on device {on}' if on else ''}: {job.name}", flush=True)
                if signals or stopped:
                    waiting = []
                for ended in [each for each in running if each.process.poll() is not None]:
                    running.remove(ended)
                    free.append(ended.slot)
                    if _tell(ended) == "failed" and self.config.fail_fast and not stopped:
                        stopped = True
                        for other in running:
                            other.process.terminate()
                time.sleep(POLL)
        if signals:
            raise KeyboardInterrupt
        if stopped:
            raise SweepStopped
        return [job.found for job in jobs]


def _slots(jobs: int | str, devices_of_a_job: int | str, wanted: int, device: str) -> list[dict[str, str]]:
    """What the environment of each of the jobs at a time adds: its devices, or its share of the cores."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = 0 if device == "cpu" else torch.cuda.device_count()
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    if not count:
        if jobs == "auto":
            raise UserError(
                "hydra/launcher=gpus finds no device here; say how many jobs to run at a time: hydra.launcher.jobs=2"
            )
        at_a_time = min(_number(jobs, "jobs"), wanted)
        threads = max(1, len(os.sched_getaffinity(0)) // at_a_time)
        return [{"OMP_NUM_THREADS": str(threads)}] * at_a_time
    each = count if devices_of_a_job == "auto" else _number(devices_of_a_job, "devices_of_a_job")
    if each > count:
        raise UserError(f"each job wants {each} devices (engine.devices), and there are {count} here")
    most = count // each
    at_a_time = min(most if jobs == "auto" else _number(jobs, "jobs"), wanted, most)
    return [{"CUDA_VISIBLE_DEVICES": ",".join(names[n * each : (n + 1) * each])} for n in range(at_a_time)]


def _number(value: int | str, name: str) -> int:
    if not isinstance(value, int) or value < 1:
        raise UserError(f"hydra.launcher.{name} must be a number from 1, or auto, got {value!r}")
    return value


def _start(job: SweepJob, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    job.directory.mkdir(parents=True, exist_ok=True)
    with open(job.directory / "console.log", "ab") as console:
        return subprocess.Popen(
            [sys.executable, "-m", "mae_hydra", "train", *job.words],
            stdout=console,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | environment | {OF_A_SWEEP: "1"},
            start_new_session=True,  # a terminal's Ctrl-C comes once, through us
            preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),  # it saves and ends where this is killed
        )


def _tell(ended: _Running) -> str:
    """Say how a job ended, also in the table where no file of it does; its state."""
    job, code = ended.job, ended.process.returncode
    status: dict[str, Any] = read_status(job.directory) or {
        "state": "failed",
        "value": None,
        "error": None,
        "ended": None,
    }
    state = "failed" if code not in (0, 75, 130) else status["state"]
    said = status["ended"] or {"completed": f"value {status['value']}"}.get(state)
    if state == "failed":
        parts = [read_status(job.directory / name) or {} for name in ("", *job.config.get("then", ()))]
        ending = f"ended by {signal.Signals(-code).name}" if code < 0 else last_line(job.directory / "console.log")
        said = next((part["error"] for part in parts if part.get("error")), ending.removeprefix("error: "))
        said = said or f"exit code {code}"
        if not any(part.get("state") == "failed" for part in parts):  # killed, or wrong before it had a directory
            known = "interrupted" if status["state"] == "interrupted" else "failed"
            sweeps.outcomes[job.name] = sweeps.Outcome(known, clean(said), job.overrides)
    print(f"job {job.number} {state}: {clean(said or job.name)}", flush=True)
    return str(state)
