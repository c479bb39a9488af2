"""The sweep that this process runs: what failed in it, and one table of its jobs, whatever became of them."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mae_hydra.errors import unwritable
from mae_hydra.experiment.gather import Run, columns, read_sweep, table_of, varying, write_table
from mae_hydra.names import clean
from mae_hydra.terminal import plain_console

failures: dict[str, str] = {}  # job -> error, of the sweep that this process runs
refused: set[str] = set()  # those of them whose directory holds another run
_current: list[tuple[DictConfig, float]] = []  # its configuration, as the callback saw it, and when it began


class SweepStopped(BaseException):
    """A job failed and no other may start. Not an Exception: Hydra would only note that one."""


class NoteSweep(Callback):
    """Hydra callback: a sweep has begun. `finish` tells its end: Hydra 1.3 does not, when one breaks off."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _current[:] = [(config, time.time())]


def start() -> None:
    """Forget the sweep that this process ran before."""
    failures.clear()
    refused.clear()
    _current.clear()


def finish() -> bool:
    """Write and print the table of the sweep that has ended, in whatever way, and tell whether a job of it failed.

    A launcher may have run the jobs in other processes, so what they left is looked at.
    """
    if not _current:
        return bool(failures)
    config, begun = _current.pop()
    sweep_dir = Path(config.hydra.sweep.dir)
    runs = read_sweep(sweep_dir)
    if not runs:
        return bool(failures)
    rows = table_of(runs)
    for row in rows:
        if row["job"] in refused:  # what the directory holds is not this sweep's
            row |= dict.fromkeys(columns(runs)) | {"state": "refused", "value": None}
        if row["job"] in failures:
            row |= {"state": row["state"] if row["job"] in refused else "failed", "error": failures[row["job"]]}
    try:
        write_table(rows, sweep_dir)
    except OSError as error:
        why = unwritable(error, "the table is only shown") or f"the table is only shown, not written: {error}"
        print(f"warning: {why}", file=sys.stderr)
    swept = dict.fromkeys([*(config.hydra.sweeper.params or ()), *varying(runs)])
    show(rows, sweep_dir, list(columns(runs)), list(swept))
    failed = {row["job"] for row in rows if "failed" in row["state"]}
    return bool(failures) or any(_ended(run) >= begun for run in runs if run.name in failed)


def _ended(run: Run) -> float:
    return max(each.status["end"] or 0.0 for each in (run, *run.stages.values()))


def show(rows: Sequence[dict[str, Any]], sweep_dir: Path, metrics: Sequence[str], keys: Sequence[str]) -> None:
    """The table on the console: what was swept, how it ended, and what it found."""
    from rich.table import Table

    table = Table(title=clean(sweep_dir), title_justify="left")
    for column in (*keys, "state"):
        table.add_column(column)
    for column in (*metrics, "minutes"):
        table.add_column(column, justify="right")
    with_errors = any(row["error"] for row in rows)
    if with_errors:
        table.add_column("error", overflow="fold")
    for row in rows:
        settings = [_shown(row.get(key)) for key in keys]
        values = ["" if row[metric] is None else f"{row[metric]:.4g}" for metric in metrics]
        minutes = "" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"
        table.add_row(*settings, row["state"], *values, minutes, *([clean(row["error"] or "")] if with_errors else []))
    console = plain_console()
    console.print(table)
    console.print(f"curves, figures and pictures on one page: mae-hydra report {sweep_dir}", soft_wrap=True)


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else clean(value)
