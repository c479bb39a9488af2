"""What the runs of a sweep found, read from their directories: at any time, also while they train."""

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from mae_hydra import atomic
from mae_hydra.configuration.changes import value_at
from mae_hydra.configuration.job_names import unnamed
from mae_hydra.errors import UserError
from mae_hydra.experiment.status import read_status, write_json
from mae_hydra.lines import Lines, of_a_step, read_lines
from mae_hydra.recorded.tables import read_table, table_or_none

METRICS = "metrics.jsonl"
SEED = "seed"
# The scores of this package that are percent. Those of other evaluators and metrics (a kappa, a loss) have no unit.
PERCENT = {"mIoU", "mAcc", "aAcc", "mDice", "mPrecision", "mBIoU", "top1", "top5", "mean_error", "mCE"}
PERCENT |= {"knn", "linear", "knn_mIoU", "linear_mIoU"}


@dataclass(frozen=True)
class Run:
    """One run directory. `metrics`: the latest scalars. `monitor`, `higher_is_better`: what it is judged by.

    `stages`: the runs that followed it from its weights, by name. `untyped`: values of its configuration at keys that
    were typed for others of its sweep only.
    """

    directory: Path
    status: dict[str, Any]
    config: dict[str, Any]
    metrics: dict[str, float]
    stages: dict[str, "Run"] = field(default_factory=dict)
    untyped: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def state(self) -> str:
        return str(self.status["state"])

    @property
    def monitor(self) -> str:
        return str(self.config.get("checkpoint", {}).get("monitor", "value"))

    @property
    def higher_is_better(self) -> bool:
        return self.config.get("checkpoint", {}).get("mode") == "max"

    @property
    def value(self) -> float | None:
        """The monitored metric of a complete run; of another, its latest value."""
        value = self.status["value"]
        return self.metrics.get(self.monitor) if value is None else value

    @property
    def before(self) -> float:
        """Seconds that the attempts before the last one took; records of older versions do not tell."""
        return float(self.status.get("before", 0.0))

    @property
    def seconds(self) -> float | None:
        """What all attempts took together; None where the last one told no end."""
        start, end = self.status["start"], self.status["end"]
        return self.before + end - start if start and end else None

    @property
    def total_seconds(self) -> float:
        """Add up how long a run took, with what followed it as far as that has ended."""
        return sum(run.seconds or 0.0 for run in (self, *self.stages.values()))

    @property
    def overrides(self) -> list[str]:
        return list(map(str, self.status["overrides"]))

    @cached_property
    def _lines(self) -> Lines:  # kept of the runs alone whose curves are asked for
        return read_lines(self.directory / METRICS, of_a_step)

    def rows(self) -> list[dict[str, Any]]:
        """The whole lines of its metrics.jsonl, as far as it had been written when they were first asked for."""
        return self._lines.rows

    @property
    def damaged_lines(self) -> int:
        """Count the lines of a run's metrics.jsonl that cannot be read."""
        return self._lines.damaged


def read_run(directory: Path, *, stages: bool = True) -> Run | None:
    """The run in `directory`, or None where there is none; UserError where a file of it is not what a run writes."""
    file = directory / "status.json"
    if read_table(file) is None:
        return None
    status = read_status(directory)
    if status is None:
        raise UserError(f"{file} is not the status of a run: it tells no state; get it again, or remove it")
    config = read_table(directory / "config.yaml")
    followed = {path.parent.name: _read_or_told(path.parent) for path in _statuses(directory) if stages}
    return Run(directory, status, config or {}, latest(read_lines(directory / METRICS, of_a_step).rows), followed)


def read_sweep(directory: Path) -> list[Run]:
    """The runs below `directory`, by name."""
    runs = [_read_or_told(path.parent, stages=True) for path in _statuses(directory)]
    keys = varying(runs)
    for run, typed in zip(runs, map(settings_of, runs), strict=True):
        found = {key: value_at(run.config, key) for key in keys if key not in typed}
        run.untyped.update({key: value for key, value in found.items() if isinstance(value, (str, int, float))})
    return runs


def _statuses(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*/status.json") if path.is_file())


def _read_or_told(directory: Path, *, stages: bool = False) -> Run:
    """A run whose files cannot be read is one that failed: the others are read all the same."""
    nothing: dict[str, Any] = {"state": "failed", "value": None, "start": None, "end": None, "overrides": []}
    try:
        run = read_run(directory, stages=stages)
    except UserError as error:
        return Run(directory, nothing | {"error": str(error)}, {}, {})
    assert run is not None
    return run


def settings_of(run: Run, also: Collection[str] = ()) -> dict[str, Any]:
    """What was typed for it or for others of its sweep, as values: {"model.mask_ratio": 0.75}; without what says where
    it happens only, but for the keys `also`."""
    pairs = [(override, *override.lstrip("+").partition("=")) for override in run.overrides]
    return run.untyped | {
        key: _value(value) for override, key, _, value in pairs if key in also or not unnamed(override)
    }


def varying(runs: Sequence[Run]) -> list[str]:
    """The keys whose settings differ between the runs, in the order in which they were typed."""
    settings = [settings_of(run) for run in runs]
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]


def grid_in(directory: Path) -> list[str]:
    """The keys that the sweep file of a sweep goes over, also those of which a single value was typed."""
    hydra = (table_or_none(directory / "multirun.yaml") or {}).get("hydra")
    sweeper = hydra.get("sweeper") if isinstance(hydra, dict) else None
    params = sweeper.get("params") if isinstance(sweeper, dict) else None
    return grid_of(params) if isinstance(params, dict) else []


def grid_of(params: Iterable[Any]) -> list[str]:
    """The keys of a sweep file, as tables call them."""
    return [str(key).lstrip("+") for key in params]


def is_percent(name: str) -> bool:
    """Whether a score is percent, by its name, also that of a stage: upernet: val/mIoU."""
    return name.rpartition("/")[2] in PERCENT


def with_unit(name: str, value: float) -> str:
    """Write a score: 35.70 %, of a loss 0.5494."""
    return f"{value:.2f} %" if is_percent(name) else f"{value:.4g}"


def columns(runs: Sequence[Run]) -> dict[str, bool]:
    """The monitored metrics of the runs and of what followed them ("upernet: val/mIoU"): whether higher is better."""
    shown: dict[str, bool] = {}
    begun = [run for run in runs if run.config] or runs  # of one that never began it is not known
    for run in begun:
        shown.setdefault(run.monitor, run.higher_is_better)
        for name, stage in run.stages.items():
            shown.setdefault(f"{name}: {stage.monitor}", stage.higher_is_better)
    return shown


def values_of(run: Run) -> dict[str, float]:
    """Give a run's results by the names of `columns`; nothing where it has none yet."""
    values = {run.monitor: run.value}
    values |= {f"{name}: {stage.monitor}": stage.value for name, stage in run.stages.items()}
    return {name: value for name, value in values.items() if value is not None}


def state_of(run: Run) -> str:
    """Give a run's state, or, where it is complete, that of the first stage that is not."""
    waiting = [f"{name} {stage.state}" for name, stage in run.stages.items() if stage.state != "completed"]
    return waiting[0] if run.state == "completed" and waiting else run.state


def error_of(run: Run) -> str:
    """Give what a run, or what followed it, ended with; empty where nothing failed."""
    errors = [str(part.status["error"]) for part in (run, *run.stages.values()) if part.status["error"]]
    return errors[0] if errors else ""


def over_seeds(runs: Sequence[Run]) -> tuple[list[str], list[list[Any]]] | None:
    """Head and rows of a table, one row for each setting: mean ± standard deviation of its complete runs over seeds.

    None where the seed was not swept.
    """
    keys = varying(runs)
    if SEED not in keys:
        return None
    swept, metrics = [key for key in keys if key != SEED], columns(runs)
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if state_of(run) == "completed":
            groups.setdefault(tuple(settings_of(run).get(key) for key in swept), []).append(run)
    rows: list[list[Any]] = []
    for settings, members in groups.items():
        scores = [[values_of(run)[name] for run in members if name in values_of(run)] for name in metrics]
        cells = [f"{fmean(values):.4g}" if values else "" for values in scores]
        spread = [f" ± {stdev(values):.2g}" if len(values) > 1 else "" for values in scores]
        rows.append([*settings, len(members), *map("".join, zip(cells, spread, strict=True))])
    return [*swept, "seeds", *metrics], rows


def table_of(runs: Sequence[Run], grid: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row a run, completed ones first, by the values of what was swept; `grid`: keys that have a column though
    their values may not differ."""
    keys, metrics = dict.fromkeys([*grid, *varying(runs)]), columns(runs)
    rows: list[dict[str, Any]] = []
    for run in runs:
        settings, found = settings_of(run, grid), values_of(run)
        rows.append(
            {"job": run.name, "state": state_of(run)}
            | {key: settings.get(key) for key in keys}
            | {name: found.get(name) for name in metrics}
            | {"value": run.status["value"], "seconds": run.total_seconds}
            | {"overrides": run.overrides, "error": error_of(run) or None}
        )
    return sorted(rows, key=lambda row: (row["state"] != "completed", [_place(row[key]) for key in keys], row["job"]))


def _place(value: Any) -> tuple[int, float, str]:
    """Where a value stands among others: numbers by their size, before words."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    return (0, value, "") if is_number else (1, 0.0, str(value))


def write_table(rows: Sequence[dict[str, Any]], directory: Path) -> None:
    """`results.json` and `results.csv`."""
    write_json(directory / "results.json", rows)
    with (
        atomic.writing(directory / "results.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"overrides": " ".join(row["overrides"])} for row in rows)


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)  # 1e-3 is a string to YAML
        except ValueError:
            return text
    return value if isinstance(value, (int, float, bool)) else text


def latest(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The last value of every scalar that has one."""
    values: dict[str, float] = {}
    for row in rows:
        values.update({name: value for name, value in row.items() if value is not None})
    return values
