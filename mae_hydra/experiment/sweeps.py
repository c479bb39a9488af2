"""What a sweep leaves behind: one table of its jobs, whatever became of them."""

import csv
import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mae_hydra.experiment.status import read_status, write_json

failures: list[tuple[str, str]] = []  # (job, error) of the sweep this process runs


def is_child() -> bool:
    """Whether this process is one job of a sweep that another process leads."""
    return "MAE_HYDRA_SWEEP_CHILD" in os.environ


class CollectSweep(Callback):
    """Hydra callback: after the last job, write and print the table of the sweep."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        rows = collect(sweep_dir)
        if rows:
            show(rows, sweep_dir)


def collect(sweep_dir: Path) -> list[dict[str, Any]]:
    """One row a job, best state first; also written to `results.json` and `results.csv`."""
    rows = []
    for path in sorted(sweep_dir.glob("*/status.json")):
        status = read_status(path.parent)
        if status is not None:
            seconds = status["end"] - status["start"] if status["end"] else None
            rows.append(
                {"job": path.parent.name, "state": status["state"], "value": status["value"], "seconds": seconds}
                | {"overrides": " ".join(status["overrides"]), "error": status["error"]}
            )
    rows.sort(key=lambda row: (row["state"] != "completed", row["job"]))
    if rows:
        write_json(sweep_dir / "results.json", rows)
        with open(sweep_dir / "results.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return rows


def show(rows: list[dict[str, Any]], sweep_dir: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(sweep_dir), title_justify="left")
    for column in ("job", "state", "value", "minutes"):
        table.add_column(column, justify="left" if column in ("job", "state") else "right", overflow="fold")
    for row in rows:
        value = "" if row["value"] is None else f"{row['value']:.4g}"
        minutes = "" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"
        table.add_row(row["job"], row["state"], value, minutes)
    Console().print(table)
