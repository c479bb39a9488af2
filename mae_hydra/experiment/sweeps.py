"""The sweep that this process runs: what failed in it, and one table of its jobs, whatever became of them."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from mae_hydra.errors import unwritable
from mae_hydra.experiment import sweep_names
from mae_hydra.experiment.comparable import unlike
from mae_hydra.experiment.read_runs import Run, columns, grid_of, read_sweep, table_of, varying, write_table
from mae_hydra.names import clean
from mae_hydra.terminal import plain_console, upload_line


@dataclass(frozen=True)
class Outcome:
    """What the process that runs the sweep knows of a job beyond its directory, which may not exist.

    `state` is one of a run, or: refused (the directory holds another run), waiting, cancelled, timed out, lost.
    """

    state: str
    error: str | None = None
    overrides: Sequence[str] = ()

    @property
    def failed(self) -> bool:
        return self.state not in UNDER_WAY


UNDER_WAY = ("waiting", "running")
ROOM_FOR_ERRORS = 100  # columns of a terminal, from which on errors stand in the table
outcomes: dict[str, Outcome] = {}  # job -> what is known, of the sweep that this process runs
_current: list[tuple[DictConfig, float]] = []  # its configuration, as the callback saw it, and when it began


class SweepStopped(BaseException):
    """A job failed and no other may start. Not an Exception: Hydra would only note that one."""


class NoteSweep(Callback):
    """Hydra callback: a sweep has begun. `finish` tells its end: Hydra 1.3 does not, when one breaks off."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        # Hydra keeps what a job returned until the sweep ends, 0.3 MB each, nearly all of it configurations. Callbacks
        # of one's own are called before this one, which is the first of the list.
        if config.hydra.mode == RunMode.MULTIRUN:
            job_return.cfg = job_return.hydra_cfg = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _current[:] = [(config, time.time())]
        sweep_names.tell_jobs(config)


def start() -> None:
    """Forget the sweep that this process ran before."""
    outcomes.clear()
    _current.clear()


def finish() -> bool:
    """Write and print the table of the sweep that has ended, in whatever way, and tell whether a job of it failed.

    A launcher may have run the jobs in other processes, so what they left is looked at.
    """
    failed = any(outcome.failed for outcome in outcomes.values())
    if not _current:
        return failed
    config, begun = _current.pop()
    os.environ.pop(sweep_names.SWEPT, None)
    sweep_dir = Path(config.hydra.sweep.dir)
    runs = read_sweep(sweep_dir)
    there = {run.name for run in runs}
    runs += [_never_begun(sweep_dir / name, outcome) for name, outcome in outcomes.items() if name not in there]
    if not runs:
        return failed
    grid = grid_of(config.hydra.sweeper.params or ())
    rows = table_of(runs, grid)
    for row in rows:
        outcome = outcomes.get(row["job"])
        if outcome is not None:
            row |= {"state": outcome.state, "error": outcome.error}
            if outcome.state == "refused":  # what the directory holds is not this sweep's
                row |= dict.fromkeys(columns(runs)) | {"value": None}
    try:
        write_table(rows, sweep_dir)
    except OSError as error:
        why = unwritable(error, "the table is only shown") or f"the table is only shown, not written: {error}"
        print(f"warning: {why}", file=sys.stderr)
    swept = list(dict.fromkeys([*grid, *varying(runs)]))
    show(rows, sweep_dir, list(columns(runs)), swept, unlike(run.config for run in runs))
    worse = {row["job"] for row in rows if "failed" in row["state"]}
    return failed or any(_ended(run) >= begun for run in runs if run.name in worse)


def _never_begun(directory: Path, outcome: Outcome) -> Run:
    """A job without a run directory: it waits, or was cancelled before it began."""
    nothing = dict.fromkeys(("value", "error", "start", "end"))
    return Run(directory, {"state": outcome.state, "overrides": list(outcome.overrides)} | nothing, {}, {})


def _ended(run: Run) -> float:
    return max(part.status["end"] or 0.0 for part in (run, *run.stages.values()))


def show(
    rows: Sequence[dict[str, Any]], sweep_dir: Path, metrics: Sequence[str], keys: Sequence[str], note: str = ""
) -> None:
    """The table on the console: what was swept, how it ended, and what it found."""
    from rich.table import Table

    console = plain_console()
    table = Table(title=clean(sweep_dir), title_justify="left")
    tails = [key.rpartition(".")[2] for key in keys]
    fits = len(" | ".join([*keys, "completed", *metrics, "minutes"])) + 4 <= console.width
    for column in keys if fits or len(set(tails)) < len(tails) else tails:
        table.add_column(column, overflow="fold")
    table.add_column("state", no_wrap=True)
    for column in (*metrics, "minutes"):
        table.add_column(column, justify="right", overflow="fold")
    errors = dict.fromkeys(clean(row["error"]) for row in rows if row["error"])
    beside = bool(errors) and console.width >= ROOM_FOR_ERRORS
    if beside:
        table.add_column("error", overflow="fold")
    for row in rows:
        settings = [_shown(row.get(key)) for key in keys]
        values = ["" if row[metric] is None else f"{row[metric]:.4g}" for metric in metrics]
        minutes = "" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"
        table.add_row(*settings, row["state"], *values, minutes, *([clean(row["error"] or "")] if beside else []))
    console.print(table)
    for error in () if beside else errors:
        console.print(f"failed: {error}")
    if note:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"curves, figures and pictures on one page: mae-hydra report {sweep_dir}", soft_wrap=True)
    if upload := upload_line(sweep_dir):
        console.print(f"to upload what W&B kept offline: {upload}", soft_wrap=True)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else clean(value)
