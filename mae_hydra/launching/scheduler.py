"""Under Slurm: tasks that `srun` started are the processes of a run, and a job that was warned is queued again.

With `hydra/launcher=submitit_slurm` each job of a sweep is such a set of tasks, over as many nodes as it asks for;
submitit, which started them, also queues a job again that got its warning signal.
"""

import os
import re
import signal
import time
import zlib
from collections.abc import Mapping, MutableMapping

# What holds the rank, the local rank and the number of the tasks; of one submitit starts here, for trying things out.
_SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")
_LOCAL = ("SUBMITIT_LOCAL_GLOBALID", "SUBMITIT_LOCAL_LOCALID", "SUBMITIT_LOCAL_NTASKS")
PATIENCE = 10.0  # seconds
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)


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


def pass_on(number: int | None) -> None:
    """Give a scheduler's warning, once the state is saved, to whoever listened for it before: submitit queues the job
    again, which then goes on. Nobody listens where nobody is.

    The first task queues the job again and ends; the others wait for that, because an end of theirs may end the first.
    """
    if number in WARNINGS and callable(signal.getsignal(number)):
        signal.raise_signal(number)
        time.sleep(PATIENCE)
