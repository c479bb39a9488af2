"""`search.json` in the directory of a search: which trials were asked for, and what they found.

The directories of the jobs are the truth, as in every sweep; here stands what they cannot tell: in which order and with
what else at the same time the trials were asked for, and what one had found whose directory is gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mae_hydra.configuration.from_file import read_json
from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import read_run
from mae_hydra.experiment.status import write_json
from mae_hydra.lines import is_number

FILE = "search.json"
RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
Found = tuple[str, float | None, list[tuple[int, float]]]


@dataclass
class Trial:
    """One trial. `batch`: those with the same number were asked for together. `job`: the name of its directory.

    `steps`: (step, value) of what is monitored, of every evaluation.
    """

    number: int
    batch: int
    params: dict[str, Any]
    job: str
    state: str = RUNNING
    value: float | None = None
    steps: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class Study:
    """A search. `space`: what is searched, in the words that were typed; `fixed`: the words of every trial.

    `computes`: what an example of a trial trains and scores, by key; empty in records from before it was kept.
    """

    direction: str
    monitor: str
    space: dict[str, str]
    fixed: list[str]
    trials: list[Trial] = field(default_factory=list)
    computes: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, Any]:
        """What must be the same where a search goes on: values of two of them could not be compared."""
        return {name: value for name, value in asdict(self).items() if name not in ("trials", "computes")}

    @property
    def best(self) -> Trial | None:
        done = [trial for trial in self.trials if trial.state == COMPLETE]
        choose = max if self.direction == "maximize" else min
        return choose(done, key=lambda trial: trial.value or 0.0) if done else None

    def write(self, directory: Path) -> None:
        write_json(directory / FILE, asdict(self))


def read_study(directory: Path) -> Study | None:
    """The study in a directory, None where there is none; UserError where the file is not what a search writes."""
    content = read_json(directory / FILE)
    if content is None:
        return None
    try:
        trials = [Trial(**trial) for trial in content.pop("trials")]
        study = Study(**content, trials=trials)
        whole = all(map(_is_whole, trials)) and all(
            isinstance(part, kind) for part, kind in ((study.space, dict), (study.fixed, list), (study.computes, dict))
        )
    except (TypeError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise UserError(f"{directory / FILE} is not what a search writes; get it again, or remove it to search anew")
    return study


def _is_whole(trial: Trial) -> bool:
    numbers = (trial.number, trial.batch, *(0 if trial.value is None else trial.value,))
    return (
        all(map(is_number, numbers))
        and isinstance(trial.params, dict)
        and isinstance(trial.job, str)
        and Path(trial.job).name == trial.job not in ("", "..")
        and trial.state in (RUNNING, COMPLETE, PRUNED, FAILED)
        and (trial.state != COMPLETE or trial.value is not None)
        and all(len(pair) == 2 and all(map(is_number, pair)) for pair in trial.steps)
    )


def found_in(directory: Path, stages: Sequence[str] = ()) -> Found:
    """What a job and the `stages` that follow it have come to: its state, its value, the values at each evaluation.

    The value is that of the last stage; then those at the evaluations are of something else, and are left out.
    """
    try:
        run = read_run(directory)
    except UserError:
        run = None
    if run is None:
        return FAILED, None, []
    rows = [] if stages else run.rows()
    steps = [(int(row["step"]), float(row[run.monitor])) for row in rows if row.get(run.monitor) is not None]
    if run.state == "pruned":
        return PRUNED, run.status["value"], steps
    parts = [run, *(run.stages.get(name) for name in stages)]
    if any(part is None or part.state != "completed" for part in parts):
        return FAILED, None, steps
    value = parts[-1].status["value"] if parts[-1] is not None else None
    return (FAILED if value is None else COMPLETE), value, steps


def words_of(params: Mapping[Any, Any]) -> list[str]:
    """The words of a trial's parameters, as they are typed."""
    return [f"{key}={value}" for key, value in params.items()]
