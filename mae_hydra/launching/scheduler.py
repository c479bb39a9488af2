"""Under Slurm: tasks that `srun` started are the processes of a run, and a job that is preempted is queued again.

Preempted with a grace time a job gets SIGTERM, as a cancelled one does. If it ended then, it would be a failed job to
Slurm; so it is queued again by `scontrol`, and waits for Slurm to end it. A warning before the time is over (SIGUSR1,
SIGUSR2) is not followed by anything of Slurm's: there the exit code 75 speaks to the job's script (`train.sbatch`), or
submitit, which listened for the signal before, queues the job again.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping, MutableMapping
from types import FrameType

# What holds the rank, the local rank and the number of the tasks; of one submitit starts here, for trying things out.
_SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
_LOCAL = ("SUBMITIT_LOCAL_GLOBALID", "SUBMITIT_LOCAL_LOCALID", "SUBMITIT_LOCAL_NTASKS")
PATIENCE = 10.0  # seconds
UNTIL_ENDED = 3600.0  # seconds; longer than a grace time
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)
_noted: list[int] = []


def note() -> None:
    """Under Slurm, keep a signal that comes while the program is imported, for `heed`.

    By itself it would end the process without a word, and a job that is preempted meanwhile would be lost.
    """
    _install(lambda number, frame: _noted.append(number))


def heed() -> None:
    """Under Slurm, let a signal that comes before the training, or after it, stop this process like Ctrl-C; one that
    was noted does so at once."""
    _install(_stop)
    if _noted:
        _stop(_noted[0], None)


def _install(handler: Callable[[int, FrameType | None], None]) -> None:
    if "SLURM_JOB_ID" in os.environ and threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, *WARNINGS):
            former = signal.getsignal(number)
            if former is signal.SIG_DFL or getattr(former, "__module__", None) == __name__:  # submitit's own stay
                signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    _noted.clear()
    for each in (signal.SIGTERM, *WARNINGS):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def join_tasks(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what torchrun sets, where a scheduler has started several tasks and torchrun has not.

    SLURM_STEP_NUM_TASKS is set by `srun` alone: in the shell of `salloc`, or in a batch script, one process is one.
    """
    if "RANK" in environment:
        return
    for rank, local_rank, size in (_SLURM, _LOCAL):
        if int(environment.get(size, 1)) > 1 and rank in environment:
            names = {"RANK": rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": size}
            environment.update({name: environment[source] for name, source in names.items()})
            environment.setdefault("MASTER_ADDR", _first_host(environment))
            environment.setdefault("MASTER_PORT", str(_port(environment)))
            return


def _first_host(environment: Mapping[str, str]) -> str:
    """Of `gpu[007-009,012],cpu1`: gpu007."""
    listed = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_JOB_NODELIST", "127.0.0.1"))
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", listed)
    assert match is not None
    return match[1] + (match[2] or "")


def _port(environment: Mapping[str, str]) -> int:
    """The same one for all tasks of a job, and probably another one for another job on the same node."""
    job = environment.get("SLURM_JOB_ID", environment.get("SUBMITIT_LOCAL_JOB_ID", ""))
    step = environment.get("SLURM_STEP_ID", "")
    return 20_000 + zlib.crc32(f"{job}.{step}".encode()) % 20_000


def pass_on(number: int | None, environment: Mapping[str, str] = os.environ) -> None:
    """Do what the scheduler's signal asks for, once the state is saved.

    A warning goes to whoever listened for it before: submitit queues the job again, which then goes on. Nobody listens
    where nobody is. A job that Slurm is preempting is queued again, and waits to be ended: an end of its own would
    count as its failure. One that is cancelled, or whose time is over, ends at once.
    The first task does that; the others wait, because an end of theirs may end the first.
    """
    if number in WARNINGS and callable(signal.getsignal(number)) and signal.getsignal(number) is not _stop:
        signal.raise_signal(number)
        time.sleep(PATIENCE)
    elif number in (signal.SIGTERM, *WARNINGS) and environment.get("SLURM_JOB_ID"):
        if environment.get("RANK", "0") != "0":
            time.sleep(PATIENCE)
        job = _job(environment)
        if _is_preempted(job, number):
            _come_back(job)


def _job(environment: Mapping[str, str]) -> str:
    """The job in Slurm's words. SLURM_JOB_ID of one element of an array is at the same time the number of the array."""
    array, element = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else environment["SLURM_JOB_ID"]


def _is_preempted(job: str, number: int) -> bool:
    """Whether Slurm will end this batch job to queue it again. SIGTERM counts as that where Slurm cannot be asked."""
    answer = _scontrol("show", "job", "-o", job)
    if answer is None:
        return number == signal.SIGTERM
    fields = dict(re.findall(r"(\w+)=(\S+)", answer.splitlines()[0] if answer else ""))
    running = fields.get("JobState") == "RUNNING"
    may_come_back = fields.get("BatchFlag") == fields.get("Requeue") == "1"
    return running and may_come_back and fields.get("PreemptTime", "None") != "None"


def _come_back(job: str) -> None:
    """Queue the job again, and wait for Slurm to end it, at the latest when its grace time is over."""
    for number in (signal.SIGTERM, *WARNINGS):
        signal.signal(number, signal.SIG_IGN)
    queued = _scontrol("requeue", job) is not None
    done = "and is queued again; it" if queued else "and"
    print(f"job {job} of Slurm is preempted {done} waits to be ended", file=sys.stderr, flush=True)
    time.sleep(UNTIL_ENDED)


def _scontrol(*words: str) -> str | None:
    """What `scontrol` says; None where it is not there, fails or does not answer."""
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
