"""`hydra/launcher=gpus`: the jobs of a sweep side by side on this machine, each with devices that no other one has.

A job is a process of its own, so nothing of one is left behind for the next, and one that dies takes no other along.
"""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mae_hydra.configuration.command_words import word
from mae_hydra.configuration.own_options import words_for_another_process
from mae_hydra.errors import UserError
from mae_hydra.experiment.status import read_status
from mae_hydra.names import clean
from mae_hydra.parent import end_with

OF_A_SWEEP = "MAE_HYDRA_JOB_OF_A_SWEEP"  # environment of a job: somebody else runs the sweep
HOME = "hydra_plugins.mae_hydra"  # Hydra takes launchers from modules of that package only; see `register`
POLL = 0.1  # seconds


@dataclass
class _Job:
    number: int
    overrides: list[str]
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    slot: int = 0

    @property
    def words(self) -> list[str]:
        return [*words_for_another_process(), *self.overrides, word("hydra.run.dir", self.directory.absolute())]


class GpusLauncher(Launcher):
    """`jobs` at a time, "auto" for as many as there are devices for; `devices_of_a_job` of them belong to each.

    On the CPU (`jobs` is a number then) the jobs share the cores evenly. Ctrl-C and SIGTERM are handed on to every
    job, each of which saves its state; the same command goes on.
    """

    __module__ = HOME

    def __init__(self, jobs: int | str, devices_of_a_job: int | str) -> None:
        self.jobs, self.devices_of_a_job = jobs, devices_of_a_job

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from mae_hydra.experiment.processes import handing_on_signals  # torch is imported only now
        from mae_hydra.experiment.sweeps import SweepStopped

        sweep_dir = Path(str(self.config.hydra.sweep.dir))
        sweep_dir.mkdir(parents=True, exist_ok=True)
        jobs = [self._job(list(o), initial_job_idx + number, sweep_dir) for number, o in enumerate(job_overrides)]
        slots = _slots(self.jobs, self.devices_of_a_job, len(jobs), str(self.config.engine.device))
        waiting, running, free = list(jobs), list[_Job](), list(range(len(slots)))
        processes: list[subprocess.Popen[bytes]] = []  # grows: a signal reaches all that were started
        stopped = False
        print(f"{len(jobs)} jobs, {len(slots)} at a time; what each says goes to its console.log", flush=True)
        with handing_on_signals(processes) as signals:
            while waiting or running:
                while waiting and free and not signals and not stopped:
                    job = waiting.pop(0)
                    job.slot = free.pop(0)
                    job.process = _start(job, slots[job.slot])
                    processes.append(job.process)
                    running.append(job)
                    on = slots[job.slot].get("CUDA_VISIBLE_DEVICES")
                    print(
                        f"job {job.number} started{f' on device {on}' if on else ''}: {job.directory.name}", flush=True
                    )
                if signals or stopped:
                    waiting = []
                for job in [job for job in running if job.process is not None and job.process.poll() is not None]:
                    running.remove(job)
                    free.append(job.slot)
                    if _tell(job) == "failed" and self.config.fail_fast and not stopped:
                        stopped = True
                        for other in running:
                            assert other.process is not None
                            other.process.terminate()
                time.sleep(POLL)
        if signals:
            raise KeyboardInterrupt
        if stopped:
            raise SweepStopped
        return [self._return(job) for job in jobs]

    def _job(self, overrides: list[str], number: int, sweep_dir: Path) -> _Job:
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = f"{sweep_dir.name}_{number}", number
        HydraConfig.instance().set_config(config)  # the name of the directory follows from it
        return _Job(number, overrides, sweep_dir / str(config.hydra.sweep.subdir))

    def _return(self, job: _Job) -> JobReturn:
        status = read_status(job.directory)
        value = None if status is None or status["state"] != "completed" else status["value"]
        result = JobReturn(overrides=job.overrides, cfg=OmegaConf.create({}), status=JobStatus.COMPLETED)
        result.return_value = float("nan") if value is None else value
        return result


def register() -> None:
    """Make the launcher known to Hydra, in a module of this name that is in no file."""
    module: Any = ModuleType(HOME)
    module.GpusLauncher = GpusLauncher
    parent, _, name = HOME.rpartition(".")
    try:
        package = importlib.import_module(parent)
    except ImportError:  # no plugin is installed
        package = sys.modules[parent] = ModuleType(parent)
        package.__path__ = []
    setattr(package, name, module)
    sys.modules[HOME] = module
    Plugins.instance().register(GpusLauncher)


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


def _start(job: _Job, environment: dict[str, str]) -> subprocess.Popen[bytes]:
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


def _tell(job: _Job) -> str:
    """Say how a job ended; its state."""
    status: dict[str, Any] = read_status(job.directory) or {"state": "failed", "value": None, "error": None}
    assert job.process is not None
    code = job.process.returncode
    state = "failed" if code not in (0, 75, 130) else status["state"]
    said = {"completed": f"value {status['value']}", "failed": status["error"] or f"exit code {code}"}.get(state, "")
    print(f"job {job.number} {state}: {clean(said or job.directory.name)}", flush=True)
    return str(state)
