"""What a job and the stages behind it have come to, which trial is the best, and which files are refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mae_hydra.errors import UserError
from mae_hydra.launching import search as search_module
from mae_hydra.launching.search import Search
from mae_hydra.launching.trials import COMPLETE, FAILED, PRUNED, RUNNING, Study, Trial, found_in, read_study

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


def searching(**told: Any) -> Any:
    found: Any = Search.__new__(Search)
    found.master, found.storage, found.distributions = SimpleNamespace(then={}), None, {}
    vars(found).update(told)
    return found


@pytest.mark.parametrize(
    ("state", "status", "becomes"),
    [
        (COMPLETE, None, (COMPLETE, 0.25, [(1, 2.0)])),  # it has been counted, whatever became of its files
        (COMPLETE, "interrupted", (COMPLETE, 0.25, [(1, 2.0)])), (FAILED, None, (RUNNING, None, [])),
        (FAILED, "interrupted", (RUNNING, None, [])), (FAILED, "failed", (FAILED, 0.25, [(1, 2.0)])),
        (PRUNED, "completed", (COMPLETE, 0.5, STEPS)), (PRUNED, "pruned", (PRUNED, 0.25, [(1, 2.0)])),
        (PRUNED, None, (PRUNED, 0.25, [(1, 2.0)])),
    ],
)  # fmt: skip
def test_what_became_of_a_trial_since_counts_where_it_had_not_come_to_its_end(
    tmp_path: Path, state: str, status: str | None, becomes: tuple[Any, ...]
) -> None:
    if status is not None:
        run(tmp_path / "job", status)
    trial = Trial(0, 0, {}, "job", state, 0.25, [(1, 2.0)])
    searching()._look_again(trial, tmp_path)
    assert (trial.state, trial.value, trial.steps) == becomes


def test_a_trial_of_a_file_lies_in_the_space_that_is_searched() -> None:
    distributions = pytest.importorskip("optuna").distributions
    search = searching(distributions={"seed": distributions.CategoricalDistribution([0, 1, 2, 3])})
    told = [{"seed": 2}, {"seed": 4}, {}, {"seed": 2, "init_from": "x"}, {"seed": "a"}]
    assert [search._is_of_the_space(each) for each in told] == [True, False, False, False, False]


def test_another_search_does_not_go_on_in_a_directory_and_one_without_a_record_of_it_does(tmp_path: Path) -> None:
    def asked(ratio: str | None, **told: Any) -> Study:
        computes = {} if ratio is None else {"model.mask_ratio": ratio, "seed": ratio}
        return Study(
            **{"direction": "minimize", "monitor": "val/loss", "space": {}, "fixed": []} | told, computes=computes
        )

    search = searching(distributions={"seed": None})  # what is searched differs from trial to trial
    assert search._going_on(asked("0.5"), tmp_path) == asked("0.5")
    asked("0.5").write(tmp_path)
    assert search._going_on(asked("0.5"), tmp_path) == asked("0.5")
    with pytest.raises(UserError, match=r"holds another search \(model\.mask_ratio: 0\.5 -> 0\.75\)"):
        search._going_on(asked("0.75"), tmp_path)
    with pytest.raises(UserError, match=r"holds another search \(direction: minimize -> maximize\)"):
        search._going_on(asked("0.5", direction="maximize"), tmp_path)
    asked(None).write(tmp_path)  # as earlier versions wrote it
    assert search._going_on(asked("0.75"), tmp_path) == asked("0.75")


def test_batches_are_asked_for_once_more_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(search_module, "_tell", lambda study, handle, trial: told.append((handle.name, trial.number)))
    states = (COMPLETE, FAILED, PRUNED, RUNNING)
    trials = [Trial(n, n // 2, {"seed": n}, str(n), state) for n, state in enumerate(states)]

    def replayed(*params: int) -> Any:
        left = iter([SimpleNamespace(params={"seed": each}, name=f"asked{each}") for each in params])
        search = searching(_study=lambda study, seeds_on: seeds_on)
        search._asked = lambda made, count: [next(left) for _ in range(count)]
        return search._replayed(Study("minimize", "val/loss", {}, [], trials))

    made, unfinished = replayed(0, 1, 2, 3)
    assert (made, told) == (0, [("asked0", 0), ("asked1", 1), ("asked2", 2)])
    assert [(handle.name, trial.number) for handle, trial in unfinished] == [("asked3", 3)]
    assert replayed(0, 1, 3, 2) is None


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
