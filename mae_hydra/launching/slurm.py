"""Slurm's own programs: what they are told, and what they say of a user's jobs."""

import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra.errors import UserError

ANSWER = 60.0  # seconds in which a program must answer
# States in which a job is still to be reckoned with; in all others it has ended.
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
# The launcher's keys that have another name as options of sbatch; all others only write _ for -.
OPTIONS = {"timeout_min": "time", "tasks_per_node": "ntasks-per-node", "mem_gb": "mem"}


@dataclass(frozen=True)
class Seen:
    """A job as Slurm sees it: `state` in its words, and why it waits, or where it runs. `script`: what it runs."""

    state: str
    reason: str = ""
    nodes: str = ""
    script: str = ""

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def active(self) -> bool:
        return self.state in WAITING or self.state in RUNNING


def options(settings: Mapping[str, Any]) -> list[str]:
    """The options of sbatch for the launcher's keys; what is null, 0 or false is left out."""
    flags = []
    for key, value in settings.items():
        if value is None or value is False or value == 0:
            continue
        name = OPTIONS.get(key, key.replace("_", "-"))
        text = f"{value:g}G" if key == "mem_gb" else str(value)
        flags.append(f"--{name}" if value is True else f"--{name}={shlex.quote(text)}")
    return flags


def is_here() -> bool:
    return shutil.which("sbatch") is not None


def submit(script: Path) -> str:
    """Hand a script to sbatch; the number of the job. UserError with what sbatch says where it does not take it."""
    if not is_here():
        raise UserError(
            "Slurm's sbatch is not found here: hydra/launcher=slurm is typed on a machine of the cluster; "
            "on one machine of your own hydra/launcher=gpus starts the jobs side by side"
        )
    done = _ask("sbatch", "--parsable", str(script))
    if done.returncode != 0:
        said = re.sub(r"sbatch: (error: )?", "", done.stderr.strip().replace("\n", "; "))
        raise UserError(f"Slurm does not take the jobs: {said}{_way_out(said)}")
    return done.stdout.strip().split(";")[0]


def _way_out(said: str) -> str:
    if "gres" not in said and "node configuration" not in said:
        return ""
    if any("gpu" in line for line in _ask("sinfo", "-h", "-o", "%G").stdout.splitlines()):
        return ""
    return (
        ". This cluster has no GPUs: hydra.launcher.gpus_per_node=0 hydra.launcher.tasks_per_node=1 ask for none "
        "(and hydra.launcher.cpus_per_task for no more cores than a node has)"
    )


def rename(names: Mapping[str, str]) -> None:
    """Give jobs their names, in one call; a cluster that does not allow it, or does not answer, keeps its own."""
    commands = "".join(f"update JobId={job} JobName={name}\n" for job, name in names.items())
    _ask("scontrol", "-Q", told=commands)


def cancel(jobs: Iterable[str]) -> None:
    _ask("scancel", *jobs)


def queue() -> dict[str, Seen] | None:
    """This user's jobs in the queue, and those that have ended lately, by number; None where Slurm does not answer."""
    user = pwd.getpwuid(os.getuid()).pw_name
    done = _ask("squeue", "--noheader", "--array", "--user", user, "--states=all", "--format=%F_%K|%T|%r|%N|%o")
    if done.returncode != 0:
        return None
    jobs = {}
    for line in done.stdout.splitlines():
        job, state, reason, nodes, script = line.split("|", 4)
        jobs[job] = Seen(state, "" if reason == "None" else reason, nodes, script)
    return jobs


def ended(jobs: Sequence[str]) -> dict[str, Seen]:
    """What Slurm's accounting knows of jobs that have left the queue; nothing where there is none."""
    done = _ask("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", ",".join(jobs))
    pairs = (line.split("|", 1) for line in done.stdout.splitlines() if "|" in line)
    return {job: Seen(state.split()[0]) for job, state in pairs}


def _ask(*command: str, told: str | None = None) -> subprocess.CompletedProcess[str]:
    """What a program answers; `told` is written to its standard input. Exit code 1 where it does not answer."""
    try:
        return subprocess.run(command, input=told, capture_output=True, text=True, timeout=ANSWER, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
