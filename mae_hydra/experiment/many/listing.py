"""Many runs at a glance: one row a run, made of the small files of its directory; checkpoints are only measured."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mae_hydra.configuration.job_names import unnamed
from mae_hydra.configuration.key_meaning import flatten
from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import METRICS, Run, latest
from mae_hydra.experiment.status import read_status
from mae_hydra.lines import of_a_step, read_marked
from mae_hydra.recorded.tables import read_table, table_or_none

OF_A_RUN = {"checkpoints", "figures", "tables", "wandb", "report", "tensorboard", "replay", "profile"}
NOTHING: dict[str, Any] = {"state": "unreadable", "value": None, "start": None, "end": None, "overrides": []}


@dataclass(frozen=True)
class Row:
    """A run in a list. `name`: its path below the folder that was listed. `size`: bytes, a linked file once.

    `best`: of the monitored metric over all evaluations; `step`: the last one logged, or saved; `best_step` and
    `last_step`: those of the best and of the last evaluation. None where there is none yet.
    """

    run: Run
    name: str
    size: int
    best: float | None
    step: int | None
    best_step: int | None = None
    last_step: int | None = None
    looked: float = field(default_factory=time.time)  # when

    @property
    def state(self) -> str:
        """`running` where somebody holds the directory, `dead` where it says so and nobody does."""
        status = self.run.status
        return "dead" if status["state"] == "interrupted" and status["end"] is None else str(status["state"])

    @property
    def task(self) -> str:
        return str(self.run.status.get("task") or self.run.config.get("task") or "")

    @property
    def last(self) -> float | None:
        return self.run.metrics.get(self.run.monitor)

    @property
    def metric(self) -> str:
        """What `best` and `last` are of."""
        return "" if self.best is None and self.last is None else self.run.monitor

    @property
    def why(self) -> str:
        """Why a run is not complete, or ended before its last step; empty where nothing is to be said."""
        status = self.run.status
        return str((None if self.state == "completed" else status.get("error")) or status.get("ended") or "")

    @property
    def words(self) -> list[str]:
        """What was typed for it, without what says only where and how it is called."""
        return [word for word in self.run.overrides if not unnamed(word)]

    @property
    def age(self) -> float | None:
        """Seconds since it was started."""
        start = self.run.status["start"]
        return None if start is None else max(0.0, self.looked - start)

    @property
    def took(self) -> float | None:
        """Seconds of all its attempts, of one that runs so far."""
        if self.state != "running":
            return self.run.seconds
        return None if self.age is None else self.run.before + self.age

    @cached_property
    def choices(self) -> dict[str, Any]:
        """The option of every group, as it was composed."""
        return (table_or_none(self.run.directory / "environment.json") or {}).get("choices", {})

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every value of its configuration by its dotted key."""
        return flatten(self.run.config)

    def facts(self) -> dict[str, Any]:
        """The row as plain values, for JSON and CSV."""
        started = self.run.status["start"]
        return {
            "name": self.name,
            "task": self.task,
            "state": self.state,
            "step": self.step,
            "monitor": self.run.monitor,
            "best": self.best,
            "best_step": self.best_step,
            "last": self.last,
            "last_step": self.last_step,
            "typed": self.words,
            "started": None if started is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
            "age_s": _rounded(self.age),
            "took_s": _rounded(self.took),
            "bytes": self.size,
            "path": str(self.run.directory),
            "error": self.run.status.get("error"),
            "ended": self.run.status.get("ended"),
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def list_runs(folder: Path) -> list[Row]:
    """All runs at or below `folder`, the newest first; UserError where it is not there, or holds none."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one that holds runs (outputs/, where nothing else was said)")
    rows = [read_row(directory, folder) for directory in run_directories(folder)]
    if not rows:
        raise UserError(f"there is no run at or below {folder}: no status.json in any folder of it")
    return newest_first(rows)


def newest_first(rows: Iterable[Row]) -> list[Row]:
    """Sort runs by their start, the newest first."""
    return sorted(rows, key=lambda row: (-(row.run.status["start"] or 0.0), row.name))


def read_row(directory: Path, folder: Path) -> Row:
    """A run whose files cannot be read has a row all the same, which says so."""
    name = os.path.relpath(directory, folder)
    name = directory.resolve().name if name == "." else name
    try:
        read_table(directory / "status.json")  # which tells what is wrong with it
        status, config = read_status(directory), read_table(directory / "config.yaml")
        if status is None:
            raise UserError(f"{directory / 'status.json'} tells no state; get it again, or remove it")
    except UserError as error:
        run = Run(directory, NOTHING | {"error": str(error)}, {}, {})
        return Row(run, name, size_of(directory), None, None)
    rows = read_marked(directory / METRICS, b'"val/', of_a_step)
    run = Run(directory, status, config or {}, latest(rows))
    points = [(row[run.monitor], int(row["step"])) for row in rows if row.get(run.monitor) is not None]
    best = (max if run.higher_is_better else min)(points, key=lambda point: point[0], default=(None, None))
    logged = [int(rows[-1]["step"])] if rows else []
    step = max([*logged, *_saved_steps(directory)], default=None)
    return Row(run, name, size_of(directory), best[0], step, best[1], points[-1][1] if points else None)


def _saved_steps(directory: Path) -> list[int]:
    """The steps of its checkpoints: one that was interrupted has saved more than it had logged."""
    names = (path.stem.removeprefix("step-") for path in (directory / "checkpoints").glob("step-*.pt"))
    return [int(name) for name in names if name.isdecimal() and len(name) < 16]


def run_directories(folder: Path) -> Iterator[Path]:
    """Every run directory at or below `folder`, also of what followed another run; each once, wherever links lead."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        directory = waiting.pop()
        try:
            about = directory.stat()
            names = {entry.name: entry for entry in os.scandir(directory)}
        except OSError:  # it went meanwhile, or may not be read
            continue
        if (about.st_dev, about.st_ino) in seen:
            continue
        seen.add((about.st_dev, about.st_ino))
        is_run = "status.json" in names
        if is_run:
            yield directory
        passed = OF_A_RUN if is_run else {"wandb"}
        below = [name for name, entry in names.items() if not name.startswith(".") and _is_folder(entry)]
        waiting += [directory / name for name in sorted(below, reverse=True) if name not in passed]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be read
        return False


def size_of(directory: Path, *, with_runs: bool = False) -> int:
    """Bytes in a run directory: a file with several names once, and of runs that followed it nothing unless asked."""
    sizes: dict[tuple[int, int], int] = {}
    waiting = [os.fspath(directory)]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue
        if not with_runs and place != os.fspath(directory) and any(entry.name == "status.json" for entry in entries):
            continue
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            else:
                sizes[about.st_dev, about.st_ino] = about.st_size
    return sum(sizes.values())


@dataclass(frozen=True)
class Sweep:
    """The jobs of one sweep in a list, and the best of those that are complete."""

    directory: Path
    name: str
    jobs: Sequence[Row]

    @property
    def states(self) -> str:
        states = [job.state for job in self.jobs]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))

    @property
    def best(self) -> Row | None:
        [monitor, *others] = dict.fromkeys(job.run.monitor for job in self.jobs)
        done = [job for job in self.jobs if job.state == "completed" and job.last is not None]
        if others or not done:
            return None
        higher = done[0].run.higher_is_better
        return (max if higher else min)(done, key=lambda job: job.run.metrics[monitor])


def sweeps_of(rows: Iterable[Row]) -> list[Sweep]:
    """The sweeps among the rows: folders whose runs a sweep has told of in its table, or that lie in sweeps/."""
    found: dict[Path, list[Row]] = {}
    for row in rows:
        found.setdefault(row.run.directory.parent, []).append(row)
    return [
        Sweep(folder, Path(jobs[0].name).parent.as_posix(), jobs)
        for folder, jobs in found.items()
        if folder.parent.name == "sweeps" or (folder / "results.csv").is_file()
    ]


def own_words(rows: Sequence[Row]) -> list[str]:
    """What was typed for each run and not for all; what few have comes first, a line may be cut."""
    shared = set(common_words(rows))
    often = Counter(word for row in rows for word in row.words)
    own = ([word for word in row.words if word not in shared] for row in rows)
    return [" ".join(sorted(words, key=often.__getitem__)) for words in own]


def common_words(rows: Sequence[Row]) -> list[str]:
    """What was typed for all of several runs."""
    if len(rows) < 2:
        return []
    shared = set.intersection(*(set(row.words) for row in rows))
    return [word for word in rows[0].words if word in shared]
