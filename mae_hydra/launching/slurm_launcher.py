"""`hydra/launcher=slurm`: every job of a sweep is a job of Slurm, which comes back until it is done.

The process that was typed only submits and looks. Jobs go on without it; the same command finds them again.
"""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.status import DONE, read_status
from mae_hydra.experiment.sweeps import Outcome, SweepStopped
from mae_hydra.launching import slurm
from mae_hydra.launching.slurm import Seen
from mae_hydra.launching.submissions import Submission, new, submissions, tell
from mae_hydra.launching.sweep_jobs import HOME, OF_A_SWEEP, ProcessLauncher, SweepJob, jobs_in_words, last_line
from mae_hydra.names import clean

SHARED = "# --- from here on hydra/launcher=slurm does the same ---\n"  # in train.sbatch
SOONEST, LATEST = 2.0, 15.0  # seconds between two looks into the queue
USUAL = ("", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime")  # reasons to wait that pass by themselves
ENDED = {"CANCELLED": "cancelled", "TIMEOUT": "timed out", "DEADLINE": "timed out", "LOST": "lost"}
NO_NODE = "no node of the partition has what a job asks for: tasks_per_node, cpus_per_task, gpus_per_node, mem_gb"
LATE = 3  # looks for which a status may lag behind Slurm, on a file system of several machines


class LeftToSlurm(Exception):
    """The jobs go on without this process."""

    exit_code = 75  # start the same command again


class SlurmLauncher(ProcessLauncher):
    """Jobs as elements of one array, `array_parallelism` at a time; `options` go to sbatch (see `slurm.options`).

    Each is warned `signal_delay_s` seconds before its time is over, saves its state and is queued again, at most
    `max_num_timeout` times. `setup`: lines of the script before the program starts. `detach`: do not wait for the jobs.
    """

    __module__ = HOME

    def __init__(
        self,
        *,
        array_parallelism: int,
        signal_delay_s: int,
        max_num_timeout: int,
        setup: Sequence[str] | None,
        additional_parameters: Mapping[str, Any],
        detach: bool,
        **options: Any,
    ) -> None:
        self.array_parallelism, self.signal_delay, self.restarts = array_parallelism, signal_delay_s, max_num_timeout
        self.setup_lines, self.detach = list(setup or ()), detach
        self.options = {key: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for key, v in options.items()}
        self.options |= dict(additional_parameters)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if self.detach and "Search" in str(self.config.hydra.sweeper._target_):
            raise UserError("a search waits for the values of its jobs; leave out hydra.launcher.detach")
        jobs = self.jobs_of(job_overrides, initial_job_idx)
        work = [job for job in jobs if not self.tell_complete(job)]
        queue = slurm.queue() if work else {}
        if queue is None and slurm.is_here():
            raise UserError("Slurm does not answer (squeue), so it is not known which jobs are under way; try again")
        tell(self.sweep_dir, {job.name for job in jobs} - {job.name for job in work})
        under_way: dict[str, SweepJob] = {}
        for submission in submissions(self.sweep_dir):
            numbers = submission.elements(queue or {})
            under_way |= {numbers[job.name]: job for job in work if job.name in numbers}
        looking = _Looking(self.sweep_dir, under_way)
        known = {job.name for job in under_way.values()}
        try:
            if known:
                print(f"{_jobs(len(known))} in Slurm already, or ended there while nobody looked", flush=True)
            self._submit([job for job in work if job.name not in known], looking)
            self._follow(looking)
        except KeyboardInterrupt:
            if not looking.under_way:
                raise
            print(f"\n{looking.go_on()}", flush=True)
            raise KeyboardInterrupt from LeftToSlurm()
        return [job.found for job in jobs]

    def _submit(self, jobs: Sequence[SweepJob], looking: "_Looking") -> None:
        if not jobs:
            return
        submission = new(self.sweep_dir, [job.name for job in jobs])
        submission.script.write_text(self._script(submission, jobs))
        submission.write()
        try:
            submission.number = slurm.submit(submission.script)
        except UserError:
            submission.script.with_suffix(".json").unlink()
            raise
        submission.write()
        numbers = {f"{submission.number}_{place}": job for place, job in enumerate(jobs)}
        looking.under_way |= numbers
        slurm.rename({number: job.title for number, job in numbers.items()})
        for number, job in numbers.items():
            print(f"job {job.number} is {number} of Slurm: {job.title}", flush=True)
        print(
            "what each says goes to its console.log; all of them: squeue --me, to stop one: scancel <its number>",
            flush=True,
        )

    def _script(self, submission: Submission, jobs: Sequence[SweepJob]) -> str:
        """What sbatch gets: options, the words of every job by its place in the array, and the recipe's last part."""
        settings = {
            "job_name": self.sweep_dir.name,
            "array": f"0-{len(jobs) - 1}" + (f"%{self.array_parallelism}" if self.array_parallelism else ""),
            "output": submission.log,
            "open_mode": "append",
            "signal": f"USR2@{self.signal_delay}",
            "requeue": True,
        }
        lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in slurm.options(settings | self.options))]
        lines += [*self.setup_lines, 'case "$SLURM_ARRAY_TASK_ID" in']
        for place, job in enumerate(jobs):
            words = f"directory={shlex.quote(str(job.directory.absolute()))}; set -- {shlex.join(job.words)}"
            lines.append(f"{place}) {words} ;;")
        lines += ["esac", 'mkdir -p "$directory"', 'exec >> "$directory/console.log" 2>&1']
        set_here = {OF_A_SWEEP: "1", "MAE_HYDRA_PYTHON": sys.executable, "COMES_BACK": str(self.restarts)}
        lines += [f"export {name}={shlex.quote(value)}" for name, value in set_here.items()]
        recipe = (files("mae_hydra.launching") / "train.sbatch").read_text()
        return "\n".join(lines) + "\n" + recipe.partition(SHARED)[2]

    def _follow(self, looking: "_Looking") -> None:
        """Look until all have ended, or once where nobody waits; the table tells what is known, whatever happens."""
        asked_for = [job.name for job in looking.under_way.values()]
        begun = time.monotonic()
        while looking.look() and not self.detach:
            if looking.failed and self.config.fail_fast:
                slurm.cancel(looking.under_way)
                looking.drop("cancelled", "another job failed, and fail_fast is set")
                tell(self.sweep_dir, asked_for)
                raise SweepStopped
            time.sleep(min(SOONEST + (time.monotonic() - begun) / 30, LATEST))
        if looking.under_way:
            print(looking.go_on(), flush=True)
            return
        tell(self.sweep_dir, asked_for)  # of all together: before, the same command collects
        if looking.failed:
            print("what is not complete is queued anew by the same command", flush=True)


class _Looking:
    """How the jobs of Slurm in `under_way`, by their numbers, are doing; what has ended leaves it."""

    def __init__(self, sweep_dir: Path, under_way: dict[str, SweepJob]) -> None:
        self.sweep_dir, self.under_way = sweep_dir, dict(under_way)
        self.failed = False
        self._last: dict[str, Seen] = {}
        self._late = Counter[str]()
        self._said = set[str]()

    def look(self) -> bool:
        """Ask once, and say what is new; whether any job is still under way."""
        if not self.under_way:  # all is complete: nobody need answer
            return False
        queue = slurm.queue()
        if queue is None:
            self._say_once("Slurm does not answer (squeue); the jobs go on, and it is asked again")
            return True
        gone = [number for number in self.under_way if number not in queue]
        queue |= slurm.ended(gone) if gone else {}
        for number, job in list(self.under_way.items()):
            seen = queue.get(number, Seen("LOST"))
            if seen.active:
                self._tell_change(job, self._last.get(number), seen)
            else:
                self._tell_end(number, job, seen)
            self._last[number] = seen
        waiting = Counter(seen.reason for number, seen in self._last.items() if number in self.under_way and seen.waits)
        for reason in [reason for reason in waiting if reason not in USUAL]:
            hint = f" ({NO_NODE})" if reason in ("PartitionConfig", "BadConstraints", "PartitionNodeLimit") else ""
            self._say_once(f"{_jobs(waiting[reason])} waiting; the reason, in Slurm's words: {reason}{hint}")
        return bool(self.under_way)

    def go_on(self) -> str:
        """The sentence for who leaves while jobs are under way."""
        arrays = sorted({number.partition("_")[0] for number in self.under_way}, key=int)
        return (
            f"{_jobs(len(self.under_way))} in Slurm still, without this process; the same command collects what they "
            "find. "
            f"To stop them: scancel {' '.join(arrays)}"
        )

    def drop(self, state: str, error: str) -> None:
        for job in self.under_way.values():
            sweeps.outcomes[job.name] = Outcome(state, error, job.overrides)
        self.under_way.clear()

    def _tell_change(self, job: SweepJob, before: Seen | None, seen: Seen) -> None:
        state = "waiting" if seen.waits else "running"
        sweeps.outcomes[job.name] = Outcome(state, None, job.overrides)
        if before is None or before.waits != seen.waits:
            said = f"runs on {seen.nodes}" if not seen.waits else "waits" if before is None else "is queued again"
            if before is not None or not seen.waits:
                print(f"job {job.number} {said}: {job.title}", flush=True)

    def _tell_end(self, number: str, job: SweepJob, seen: Seen) -> None:
        status: dict[str, Any] = read_status(job.directory) or dict.fromkeys(("state", "error", "value"))
        if seen.state == "COMPLETED" and status["state"] not in DONE and self._late[number] < LATE:
            self._late[number] += 1
            return
        del self.under_way[number]
        if status["state"] in DONE and seen.state in ("COMPLETED", "LOST", "CANCELLED"):
            sweeps.outcomes.pop(job.name, None)  # its directory says all
            value = status["ended"] or f"value {status['value']}"
            print(f"job {job.number} {status['state']}: {value}", flush=True)
            return
        said = status["error"] or last_line(job.directory / "console.log", self.sweep_dir / f".slurm/{number}.log")
        stopped = status["state"] == "interrupted" and seen.state == "FAILED"
        failed = status["state"] == "failed" and seen.state == "LOST"  # Slurm has forgotten it, its directory has not
        state = "interrupted" if stopped else "failed" if failed else ENDED.get(seen.state, "failed")
        by_slurm = "" if failed or seen.state in ("FAILED", "COMPLETED") else f"{seen.state} in Slurm ({number})"
        error = ": ".join(filter(None, (by_slurm, clean(said))))
        sweeps.outcomes[job.name] = Outcome(state, error, job.overrides)
        self.failed = True
        print(f"job {job.number} {state}: {error}", flush=True)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            print(sentence, flush=True)


def _jobs(number: int) -> str:
    return f"{jobs_in_words(number)} {'is' if number == 1 else 'are'}"
