"""What a sweep leaves behind: one table of its jobs, whatever became of them."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mae_hydra.experiment.status import read_status, write_json

failures: dict[str, str] = {}  # job -> error, of the sweep that this process runs
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
    _current.clear()


def finish() -> bool:
    """Write and print the table of the sweep that has ended, in whatever way, and tell whether a job of it failed.

    A launcher may have run the jobs in other processes, so what they left is looked at.
    """
    if not _current:
        return bool(failures)
    config, begun = _current.pop()
    sweep_dir = Path(config.hydra.sweep.dir)
    rows = collect(sweep_dir)
    if rows:
        metric = str(config.checkpoint.monitor)
        swept = dict.fromkeys([*(config.hydra.sweeper.params or ()), *varying(rows)])
        show(rows, sweep_dir, metric, list(swept))
    return bool(failures) or any(row["state"] == "failed" and row["ended"] >= begun for row in rows)


def collect(sweep_dir: Path) -> list[dict[str, Any]]:
    """One row a job, completed ones first; also written to `results.json` and `results.csv`."""
    rows = []
    for path in sorted(sweep_dir.glob("*/status.json")):
        status = read_status(path.parent)
        if status is None:
            continue
        job = path.parent.name
        seconds = status["end"] - status["start"] if status["end"] else None
        row = {"job": job, "state": status["state"], "value": status["value"], "seconds": seconds}
        row |= {"ended": status["end"], "overrides": status["overrides"], "error": status["error"]}
        if job in failures and status["state"] != "failed":  # refused: the directory holds an earlier, other run
            row |= {"state": "refused", "value": None, "error": failures[job]}
        rows.append(row)
    rows.sort(key=lambda row: (row["state"] != "completed", row["job"]))
    if rows:
        write_json(sweep_dir / "results.json", rows)
        with open(sweep_dir / "results.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"overrides": " ".join(row["overrides"])} for row in rows)
    return rows


def varying(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The keys whose overrides differ between the jobs."""
    settings = [_settings(row) for row in rows]
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return [key for key in keys if len({setting.get(key) for setting in settings}) > 1]


def _settings(row: dict[str, Any]) -> dict[str, str]:
    return {key.lstrip("+"): value for key, _, value in (o.partition("=") for o in row["overrides"])}


def show(rows: Sequence[dict[str, Any]], sweep_dir: Path, metric: str, keys: Sequence[str]) -> None:
    """The table on the console: what was swept, how it ended, and the monitored metric."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(sweep_dir), title_justify="left")
    for column in (*keys, "state"):
        table.add_column(column)
    for column in (metric, "minutes"):
        table.add_column(column, justify="right")
    if any(row["error"] for row in rows):
        table.add_column("error", overflow="fold")
    for row in rows:
        settings = _settings(row)
        error = [row["error"] or ""] if any(each["error"] for each in rows) else []
        value = "" if row["value"] is None else f"{row['value']:.4g}"
        minutes = "" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"
        table.add_row(*(settings.get(key, "") for key in keys), row["state"], value, minutes, *error)
    Console().print(table)
