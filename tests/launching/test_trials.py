"""What a job and the stages behind it have come to, which trial is the best, and which files are refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.launching import search as search_module
from mae_hydra.launching.search import Search
from mae_hydra.launching.trials import COMPLETE, FAILED, PRUNED, RUNNING, Study, Trial, found_in, read_study

STEPS = [(10, 0.9), (20, 0.5)]


def run(directory: Path, state: str = "completed", value: float | None = 0.5) -> Path:
    directory.mkdir(parents=True)
    (directory / "status.json").write_text(json.dumps({"state": state, "value": value}))
    (directory / "config.yaml").write_text(yaml.safe_dump({"checkpoint": {"monitor": "val/loss", "mode": "min"}}))
    rows = [{"step": step, "val/loss": value} for step, value in STEPS] + [{"step": 25, "train/loss": 0.1}]
    rows.append({"step": 30, "val/loss": None})  # which stands for NaN
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
    (run(tmp_path / "damaged") / "status.json").write_text('{"value": 0.1}')
    assert found_in(tmp_path / "damaged") == (FAILED, None, [])


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
    more = asked("0.5")
    more.computes["loss.gain"] = "2"  # which the search that is there did not have
    with pytest.raises(UserError, match=r"holds another search \(loss\.gain: None -> 2\)"):
        search._going_on(more, tmp_path)
    with pytest.raises(UserError, match=r"holds another search \(model\.mask_ratio: 0\.5 -> 0\.75\)"):
        search._going_on(asked("0.75"), tmp_path)
    with pytest.raises(UserError, match=r"holds another search \(direction: minimize -> maximize\)"):
        search._going_on(asked("0.5", direction="maximize"), tmp_path)
    asked(None).write(tmp_path)  # as earlier versions wrote it
    assert search._going_on(asked("0.75"), tmp_path) == asked("0.75")
    asked(None, fixed=["seed=1", "notes=a", "engine.devices=2", "logger=wandb"]).write(tmp_path)
    words = ["logger=none", "engine.devices=2", "seed=1", "notes=b"]  # in another order, and otherwise unnamed ones
    assert search._going_on(asked(None, fixed=words), tmp_path).fixed == words
    with pytest.raises(UserError, match=r"holds another search \(fixed: "):
        search._going_on(asked(None, fixed=words[:2]), tmp_path)


def test_one_trial_of_another_space_makes_a_file_one_of_another_search(tmp_path: Path) -> None:
    distribution = pytest.importorskip("optuna").distributions.CategoricalDistribution([1, 2])
    search = searching(distributions={"seed": distribution, "lr": distribution})
    study = Study("minimize", "val/loss", {}, [])
    good = {"seed": 1, "lr": 2}
    for params in ({"seed": 1, "lr": 3}, {"seed": 1}):
        Study(**vars(study) | {"trials": [Trial(0, 0, good, "a"), Trial(1, 1, params, "b")]}).write(tmp_path)
        with pytest.raises(UserError, match="holds trials of another search space"):
            search._going_on(study, tmp_path)
    Study(**vars(study) | {"trials": [Trial(n, n, good, "ab"[n], FAILED) for n in range(2)]}).write(tmp_path)
    assert [trial.state for trial in search._going_on(study, tmp_path).trials] == [RUNNING, RUNNING]  # both are gone


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


@pytest.mark.parametrize(
    ("then", "said", "direction"),
    [
        ({}, None, "minimize"), ({}, "minimize", "minimize"),
        ({}, "maximize", "val/loss is better where it is smaller"),
        ({}, "down", "maximize, minimize or null, got down"),
        ({"u": []}, None, "say which way"),
        ({"u": []}, "maximize", "maximize"), ({"u": []}, "minimize", "minimize"), ({"u": []}, "down", "say which way"),
    ],
)  # fmt: skip
def test_the_way_of_a_search_is_that_of_its_metric_unless_something_follows(
    then: Any, said: Any, direction: str
) -> None:
    checkpoint = SimpleNamespace(mode="min", monitor="val/loss")
    search = searching(master=SimpleNamespace(then=then, checkpoint=checkpoint), direction=said)
    if direction in ("minimize", "maximize"):
        assert search._direction() == direction
    else:
        with pytest.raises(UserError, match=direction):
            search._direction()


def test_every_value_of_a_choice_and_both_ends_of_an_interval_are_looked_at() -> None:
    a, b = SimpleNamespace(choices=(1, 2, 3)), SimpleNamespace(low=0.1, high=0.9)
    search = searching(distributions={"a": a, "b": b})
    assert search._examples(Study("minimize", "val/loss", {}, ["seed=7"])) == [
        ["a=1", "b=0.1", "seed=7"], ["a=2", "b=0.1", "seed=7"], ["a=3", "b=0.1", "seed=7"], ["a=1", "b=0.9", "seed=7"],
    ]  # fmt: skip


def test_a_search_that_draws_anew_is_told_the_trials_and_asks_for_what_is_unfinished() -> None:
    told: list[Any] = []

    class Made:
        def add_trial(self, frozen: Any) -> None:
            told.append(("add", frozen))

        def enqueue_trial(self, params: Any) -> None:
            told.append(("enqueue", params))

    def search(storage: str | None, given: list[dict[str, int]]) -> Any:
        handles = iter([SimpleNamespace(params=params) for params in given])
        asked = searching(storage=storage, _replayed=lambda study: None, _frozen=lambda trial: trial.number)
        asked._study = lambda study, seeds_on: told.append(("seeds on", seeds_on)) or Made()
        asked._asked = lambda made, count: [next(handles) for _ in range(count)]
        return asked

    states = (COMPLETE, RUNNING, FAILED, RUNNING)
    study = Study("minimize", "x", {}, [], [Trial(n, n, {"a": n}, str(n), state) for n, state in enumerate(states)])
    _, pairs = search(None, [{"a": 1}, {"a": 3}])._told(study)
    assert [(handle.params["a"], trial.number) for handle, trial in pairs] == [(1, 1), (3, 3)]
    unfinished = [("enqueue", {"a": 1}), ("enqueue", {"a": 3})]
    assert told == [("seeds on", 4), ("add", 0), ("add", 2), *unfinished]
    told.clear()
    with pytest.raises(UserError, match="another search uses it"):  # a storage keeps the trials itself
        search("sqlite:///x", [{"a": 1}, {"a": 2}])._told(study)
    assert told == [("seeds on", 4), *unfinished]


def test_trials_of_the_same_values_are_started_once_and_without_what_was_known_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(sweeps, "outcomes", {name: sweeps.Outcome("failed") for name in "abc"})
    search = searching()
    search.starter = SimpleNamespace(launch=lambda words, initial_job_idx: started.append((words, initial_job_idx)))
    trials = [Trial(number, 1, {"x": job}, job) for number, job in ((4, "a"), (5, "a"), (6, "b"))]
    search._launch(trials, Study("minimize", "val/loss", {}, ["seed=7"]))
    assert started == [([["x=a", "seed=7"], ["x=b", "seed=7"]], 4)]
    assert list(sweeps.outcomes) == ["c"]


def test_a_storage_that_goes_the_other_way_and_an_error_of_ones_own_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    optuna = pytest.importorskip("optuna")
    sampler = OmegaConf.create({"_target_": "builtins.dict", "seed": 5})
    master = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path / "lr"))))
    asked: list[Any] = []

    def create(**named: Any) -> Any:
        asked.append(named)
        return SimpleNamespace(direction=SimpleNamespace(name="MAXIMIZE"))

    monkeypatch.setattr(optuna, "create_study", create)
    search = searching(sampler=sampler, master=master, study_name=None, storage="sqlite:///x")
    study = Study("maximize", "x", {}, [])
    search._study(study, seeds_on=3)
    assert asked == [{
        "study_name": "lr", "storage": "sqlite:///x", "sampler": {"seed": 8}, "direction": "maximize",
        "load_if_exists": True,
    }]  # fmt: skip
    search.study_name = "mine"
    search._study(study, seeds_on=0)
    assert (asked[1]["study_name"], asked[1]["sampler"]) == ("mine", {"seed": 5})
    search.study_name = None
    with pytest.raises(UserError, match="the study lr in sqlite:///x goes the other way"):
        search._study(Study("minimize", "x", {}, []), seeds_on=0)
    monkeypatch.setattr(optuna, "create_study", lambda **named: 1 / 0)
    with pytest.raises(UserError, match=r"storage=sqlite:///x cannot be used \(ZeroDivisionError"):
        search._study(study, seeds_on=0)
    search.storage = None
    with pytest.raises(ZeroDivisionError):
        search._study(study, seeds_on=0)


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
DAMAGES += [{"batch": "0"}, {"params": []}, {"steps": [[1, "x"]]}, {"number": None}, {"value": "1"}, {"job": 5}]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_trial_that_no_search_has_written_is_refused(tmp_path: Path, damage: dict[str, Any]) -> None:
    head = {"direction": "minimize", "monitor": "val/loss", "space": {}, "fixed": []}
    (tmp_path / "search.json").write_text(json.dumps(head | {"trials": [GOOD]}))
    assert read_study(tmp_path) == Study("minimize", "val/loss", {}, [], [Trial(**GOOD)])
    (tmp_path / "search.json").write_text(json.dumps(head | {"trials": [GOOD, GOOD | damage]}))
    with pytest.raises(UserError, match="is not what a search writes"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    "damage", [{"space": []}, {"fixed": "a"}, {"computes": []}, {"more": 1}, {"trials": 5}, None], ids=str
)
def test_a_study_that_no_search_has_written_is_refused(tmp_path: Path, damage: dict[str, Any] | None) -> None:
    whole = {"direction": "minimize", "monitor": "val/loss", "space": {}, "fixed": [], "trials": []}
    (tmp_path / "search.json").write_text(json.dumps({} if damage is None else whole | damage))
    with pytest.raises(UserError, match="is not what a search writes"):
        read_study(tmp_path)
