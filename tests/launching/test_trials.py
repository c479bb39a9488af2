"""What a job and the stages behind it have come to, which trial is the best, and which files are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mae_hydra.errors import UserError
from mae_hydra.launching.trials import COMPLETE, FAILED, PRUNED, Study, Trial, found_in, read_study

STEPS = [(10, 0.9), (20, 0.5)]


def run(directory: Path, state: str = "completed", value: float | None = 0.5) -> Path:
    directory.mkdir(parents=True)
    (directory / "status.json").write_text(json.dumps({"state": state, "value": value}))
    (directory / "config.yaml").write_text(yaml.safe_dump({"checkpoint": {"monitor": "val/loss", "mode": "min"}}))
    rows = [{"step": step, "val/loss": value} for step, value in STEPS] + [{"step": 25, "train/loss": 0.1}]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def test_a_job_has_come_to_what_its_last_stage_has(tmp_path: Path) -> None:
    job = run(tmp_path / "job")
    run(job / "probe", value=7.0)
    run(job / "upernet", value=31.0)
    assert found_in(job) == (COMPLETE, 0.5, STEPS)
    assert found_in(job, ["probe", "upernet"]) == (COMPLETE, 31.0, [])  # the steps are of another score
    assert found_in(job, ["probe", "gone"]) == (FAILED, None, [])
    for name, state, value in (("pruned", "pruned", 0.6), ("failed", "failed", None), ("stopped", "interrupted", 0.4)):
        run(job / name, state, value)
        assert found_in(job, [name, "probe"]) == (FAILED, None, [])  # one that ended well does not make up for it
        expected = (PRUNED, 0.6, STEPS) if state == "pruned" else (FAILED, None, STEPS)
        assert found_in(run(tmp_path / name, state, value)) == expected
    assert found_in(run(tmp_path / "worthless", value=None)) == (FAILED, None, STEPS)
    assert found_in(tmp_path / "nowhere") == (FAILED, None, [])


def test_the_best_trial_is_a_complete_one_and_in_the_direction_of_the_search() -> None:
    states = (COMPLETE, COMPLETE, PRUNED, FAILED, COMPLETE, PRUNED)
    values = (0.0, -2.0, -9.0, None, 3.0, 9.0)
    pairs = enumerate(zip(states, values, strict=True))
    trials = [Trial(number, 0, {}, str(number), state, value) for number, (state, value) in pairs]
    best = {way: Study(way, "val/loss", {}, [], trials).best for way in ("minimize", "maximize")}
    assert {way: trial and trial.number for way, trial in best.items()} == {"minimize": 1, "maximize": 4}
    assert Study("minimize", "val/loss", {}, [], trials[2:4]).best is None


GOOD: dict[str, Any] = {"number": 0, "batch": 0, "params": {}, "job": "a", "state": "complete", "value": 1.0}
DAMAGES = [
    {"job": "../a"},
    {"job": ".."},
    {"job": "/a"},
    {"job": ""},
    {"value": None},
    {"state": "done"},
    {"steps": [[1]]},
]
DAMAGES += [{"batch": "0"}, {"params": []}, {"steps": [[1, "x"]]}]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_trial_that_no_search_has_written_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    head = {"direction": "minimize", "monitor": "val/loss", "space": {}, "fixed": []}
    (tmp_path / "search.json").write_text(json.dumps(head | {"trials": [GOOD]}))
    assert read_study(tmp_path) == Study("minimize", "val/loss", {}, [], [Trial(**GOOD)])
    (tmp_path / "search.json").write_text(json.dumps(head | {"trials": [GOOD, GOOD | damage]}))
    with pytest.raises(UserError, match="is not what a search writes"):
        read_study(tmp_path)
