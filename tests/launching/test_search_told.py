"""A search asks for trials, is told what their directories hold, and goes on where it ended: without any training."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mae_hydra.experiment import sweeps
from mae_hydra.experiment.holder import holding
from mae_hydra.experiment.status import write_json
from mae_hydra.experiment.sweeps import Outcome
from mae_hydra.launching import launch
from mae_hydra.launching.launch import launch as start
from mae_hydra.launching.search import Search
from mae_hydra.launching.trials import FAILED, PRUNED, Trial

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
FOLDER = Path("outputs/sweeps/lr")
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.study_name=lr", "hydra.sweeper.sampler.seed=0"]
SEARCH += ["model.mask_ratio=interval(0.1,0.9)"]
Ending = float | str | BaseException


class Jobs:
    """Stands for the jobs: `outcomes` by number, 0 where nothing is said; `ran`: what was started, in order."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Ending] = {}
        self.ran: list[float] = []
        self.typed: list[tuple[int, list[str]]] = []  # number and words of each
        self.looked: list[list[list[str]]] = []  # the words of the jobs that were looked at before

    def __call__(self, config: DictConfig) -> float | None:
        directory = Path(HydraConfig.get().runtime.output_dir)
        ratio = float(config.model.mask_ratio)
        outcome = self.outcomes.get(len(self.ran), round((ratio - 0.6) ** 2, 6))
        self.ran.append(ratio)
        self.typed.append((HydraConfig.get().job.num, sorted(HydraConfig.get().overrides.task)))
        if isinstance(outcome, BaseException):
            raise outcome
        state = outcome if isinstance(outcome, str) else "completed"
        value = None if isinstance(outcome, str) and outcome != "pruned" else 0.9 if outcome == "pruned" else outcome
        status: dict[str, Any] = {"state": state, "value": value, "overrides": [f"model.mask_ratio={ratio}"]}
        write_json(directory / "status.json", status)
        (directory / "config.yaml").write_text("checkpoint: {monitor: val/loss, mode: min}\n")
        (directory / "metrics.jsonl").write_text(f'{{"step": 10, "val/loss": {0.9 if value is None else value}}}\n')
        for number, name in enumerate(config.then):  # the last one's score is the better, the larger the ratio
            (directory / name).mkdir()
            write_json(directory / name / "status.json", {"state": "completed", "value": number * ratio})
        return None


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    found = Jobs()
    monkeypatch.setattr("mae_hydra.launching.search.check_jobs", lambda *told: found.looked.append(told[2]))
    monkeypatch.setattr(launch, "_job", found)
    return found


@pytest.fixture
def search() -> Callable[..., int]:
    return lambda trials, *words: start([*SEARCH, f"hydra.sweeper.n_trials={trials}", *words])


def trials() -> list[dict[str, Any]]:
    return json.loads((FOLDER / "search.json").read_text())["trials"]


def test_a_search_that_was_ended_in_a_trial_goes_on_with_it_as_if_it_had_never_ended(jobs, search, tmp_path, capsys):
    random_first = "hydra.sweeper.sampler.n_startup_trials=3"
    assert search(6, random_first) == 0
    whole = list(jobs.ran)
    assert len(set(whole)) == 6
    assert [trial["state"] for trial in trials()] == ["complete"] * 6
    FOLDER.rename("whole")
    jobs.ran.clear()
    jobs.outcomes = {4: KeyboardInterrupt()}
    assert search(6, random_first) == 130
    assert trials()[-1]["state"] == "running"
    assert search(6, random_first) == 0
    assert jobs.ran == [*whole[:5], *whole[4:]]
    assert "goes on with 5 of 6 trials in outputs/sweeps/lr: 4 complete, 1 running" in capsys.readouterr().out
    assert search(7, random_first) == 0
    assert len(jobs.ran) == 8
    best = yaml.safe_load((FOLDER / "optimization_results.yaml").read_text())
    assert best["best_params"]["model.mask_ratio"] == min(jobs.ran, key=lambda ratio: abs(ratio - 0.6))


def test_what_is_pruned_fails_or_is_no_number_is_told_as_that_and_the_search_goes_on(jobs, search):
    jobs.outcomes = {0: "pruned", 1: "failed", 2: "interrupted"}
    assert search(5) == 0
    assert [trial["state"] for trial in trials()] == ["pruned", "failed", "failed", "complete", "complete"]
    assert trials()[0]["steps"] == [[10, 0.9]]
    assert trials()[1]["value"] is None
    table = {row["job"]: row["state"] for row in json.loads((FOLDER / "results.json").read_text())}
    assert sorted(table.values()) == ["completed", "completed", "failed", "interrupted", "pruned"]


def test_optuna_is_told_pruned_trials_as_pruned_also_when_the_search_goes_on(jobs, search, monkeypatch):
    from optuna.study import Study

    told: list[tuple[str, dict[int, float]]] = []
    tell = Study.tell

    def heard(self: Any, trial: Any, *values: Any, **named: Any) -> Any:
        tell(self, trial, *values, **named)
        frozen = self.trials[trial.number]
        told.append((frozen.state.name, frozen.intermediate_values))

    monkeypatch.setattr(Study, "tell", heard)
    jobs.outcomes = {0: "pruned", 1: "failed"}
    assert search(2) == 1
    assert told == [("PRUNED", {10: 0.9}), ("FAIL", {10: 0.9})]
    told.clear()
    assert search(3) == 0
    assert [state for state, _ in told] == ["PRUNED", "FAIL", "COMPLETE"]


def test_a_search_with_no_seed_or_another_one_goes_on_from_what_it_was_told(jobs, search):
    assert search(4) == 0
    first = list(jobs.ran)
    assert search(6, "hydra.sweeper.sampler.seed=5") == 0
    assert jobs.ran[:4] == first
    assert len(set(jobs.ran)) == 6
    assert [trial["state"] for trial in trials()] == ["complete"] * 6
    assert search(8, "hydra.sweeper.sampler.seed=5") == 0  # of which the first two were drawn before
    assert len(set(jobs.ran)) == 8
    assert search(9, "hydra.sweeper.sampler.seed=null", "hydra.sweeper.n_jobs=2") == 0
    assert len(set(jobs.ran)) == 9


def test_each_trial_has_its_number_and_all_fixed_words_and_what_is_typed_wins_over_a_file(jobs, search):
    words = ["schedule.total=7", "seed=3", "hydra.sweeper.n_jobs=2"]
    assert search(3, *words, 'hydra.sweeper.params={model.mask_ratio: "interval(0.95,0.99)"}') == 0
    ran = [(number, [f"model.mask_ratio={ratio}", *words[:2]]) for number, ratio in enumerate(jobs.ran)]
    assert jobs.typed == ran
    assert max(jobs.ran) < 0.9
    told = [(trial["number"], trial["batch"], trial["state"]) for trial in trials()]
    assert told == [(0, 0, "complete"), (1, 0, "complete"), (2, 1, "complete")]
    assert jobs.looked == [[[f"model.mask_ratio={ratio}", *words[:2]] for ratio in (0.1, 0.9)]]
    assert yaml.safe_load((FOLDER / "multirun.yaml").read_text())["hydra"]["sweeper"]["n_trials"] == 3


def test_the_best_goes_by_the_metric_or_by_what_follows_a_run(jobs, search, capsys):
    assert search(3, "checkpoint.mode=max") == 0
    best = yaml.safe_load((FOLDER / "optimization_results.yaml").read_text())
    furthest = max(jobs.ran, key=lambda ratio: abs(ratio - 0.6))
    assert (best["best_params"]["model.mask_ratio"], best["best_value"]) == (furthest, round((furthest - 0.6) ** 2, 6))
    assert "best val/loss 0." in capsys.readouterr().out
    FOLDER.rename("first")
    jobs.ran.clear()
    stages = ['+then.probe=["model=probe_vitt"]', '+then.upernet=["model=upernet_vitt"]']
    assert search(2, *stages, "hydra.sweeper.direction=maximize") == 0  # though the run's own loss is to be small
    largest = max(jobs.ran)
    assert f"best value of upernet {largest:.4g} of 2 trials: model.mask_ratio={largest}" in capsys.readouterr().out
    assert all(trial["steps"] == [] for trial in trials())


def test_optuna_gets_the_last_value_of_a_pruned_trial_and_a_refused_job_has_none(jobs, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its use of SQLAlchemy
        from optuna.distributions import UniformDistribution
    search: Any = Search.__new__(Search)
    search.distributions, search.master = {"a": UniformDistribution(0.0, 1.0)}, OmegaConf.create({"then": {}})
    made = Trial(0, 0, {"a": 0.5}, "job", PRUNED, None, [(10, 0.9), (20, 0.4)])
    with pytest.warns(match="experimental"):
        frozen, failed = search._frozen(made), search._frozen(replace(made, state=FAILED, value=0.1))
    assert (frozen.value, frozen.state.name, frozen.intermediate_values) == (0.4, "PRUNED", {10: 0.9, 20: 0.4})
    assert failed.value is None
    (tmp_path / "job").mkdir()
    write_json(tmp_path / "job" / "status.json", {"state": "completed", "value": 0.1})
    for known, state in ((None, "complete"), (Outcome("refused"), FAILED)):  # the directory holds another run
        sweeps.outcomes.clear()
        if known is not None:
            sweeps.outcomes["job"] = known
        search._look(made, tmp_path)
        assert (made.state, made.value) == (state, None if known else 0.1)
    sweeps.outcomes.clear()


def test_a_directory_that_is_gone_costs_a_complete_trial_nothing_and_a_failed_one_is_run_again(jobs, search):
    jobs.outcomes = {1: "failed"}
    assert search(3) == 0
    import shutil

    for trial in trials()[:2]:
        shutil.rmtree(FOLDER / trial["job"])
    assert search(3) == 0
    assert jobs.ran[3:] == [jobs.ran[1]]
    assert [trial["state"] for trial in trials()] == ["complete"] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.mask_ratio=interval(0.1,0.8)"], "holds another search (space:"),
        (["schedule.total=7"], "schedule.total=7"),
        (["hydra.sweeper.direction=maximize"], "val/loss is better where it is smaller"),
        (["hydra.sweeper.sampler._target_=optuna.samplers.GridSampler"], "a grid needs no search"),
        (["model.mask_ratio=0.5"], "a search needs something to search"),
        (["+sweep.zip=[model,data]"], "sweep.zip goes over a grid"),
        (
            ["hydra.sweeper.storage=sqlite:////nowhere/x.db"],
            "hydra.sweeper.storage=sqlite:////nowhere/x.db cannot be",
        ),
        (['+then.probe=["model=upernet_vitt"]'], "say which way: hydra.sweeper.direction=maximize"),
    ],
    ids=lambda words: str(words)[:30],
)
def test_a_search_that_is_another_one_or_none_is_refused_in_one_sentence(jobs, search, capsys, words, said):
    FOLDER.mkdir(parents=True)
    head = {"direction": "minimize", "monitor": "val/loss", "space": {"model.mask_ratio": "interval(0.1,0.9)"}}
    write_json(FOLDER / "search.json", head | {"fixed": [], "trials": []})
    assert search(1, *words) == 1
    assert said in capsys.readouterr().err
    assert jobs.ran == []


def test_of_two_searches_in_one_directory_the_second_is_refused(jobs, search, capsys, monkeypatch):
    monkeypatch.setattr("mae_hydra.experiment.holder.LOCK_PATIENCE", 0.1)
    FOLDER.mkdir(parents=True)
    with holding(FOLDER):
        assert search(1) == 1
    assert "lr" in capsys.readouterr().err
    assert jobs.ran == []
    (FOLDER / "search.json").write_text('{"trials": [{"number": 0}]}')
    assert search(1) == 1
    assert "search.json is not what a search writes" in capsys.readouterr().err


def test_the_same_choice_twice_at_a_time_is_one_job(jobs, search):
    assert search(4, "model.mask_ratio=choice(0.5,0.5)", "hydra.sweeper.n_jobs=4") == 0
    assert jobs.ran == [0.5]
    assert [trial["value"] for trial in trials()] == [0.01] * 4


def test_too_large_a_share_of_failures_ends_the_search(jobs, search, capsys):
    jobs.outcomes = {1: "failed"}
    assert search(2, "hydra.sweeper.max_failure_rate=0.5", "hydra.sweeper.n_jobs=2") == 0  # half of them: not more
    FOLDER.rename("half")
    jobs.ran.clear()
    assert search(4, "hydra.sweeper.max_failure_rate=0.5") == 1
    assert "1 of 1 trials failed, more than hydra.sweeper.max_failure_rate=0.5 allows" in capsys.readouterr().err
    assert [trial["state"] for trial in trials()] == ["complete", "failed"]


def test_an_interrupted_trial_goes_on_and_a_pruned_one_that_was_trained_to_its_end_counts(jobs, search):
    jobs.outcomes = {0: "pruned", 1: "interrupted", 2: "failed"}
    assert search(4) == 0
    states = [trial["state"] for trial in trials()]
    assert states == ["pruned", "failed", "failed", "complete"]
    by_hand = FOLDER / trials()[0]["job"] / "status.json"
    write_json(by_hand, json.loads(by_hand.read_text()) | {"state": "completed", "value": 0.0001})
    jobs.ran.clear()
    jobs.outcomes = {}
    assert search(4) == 0
    assert jobs.ran == [trials()[1]["params"]["model.mask_ratio"]]
    assert [trial["state"] for trial in trials()] == ["complete", "complete", "failed", "complete"]
    assert trials()[0]["value"] == 0.0001
    best = yaml.safe_load((FOLDER / "optimization_results.yaml").read_text())
    assert best["best_params"] == trials()[0]["params"]


@pytest.mark.parametrize("params", [{"model.mask_ratio": 0.5, "init_from": "x"}, {"model.mask_ratio": 7.0}, {}])
def test_values_of_a_file_that_the_search_cannot_have_asked_for_become_no_words(jobs, search, capsys, params):
    assert search(1) == 0
    content = json.loads((FOLDER / "search.json").read_text())
    content["trials"][0] |= {"params": params, "state": "running"}
    write_json(FOLDER / "search.json", content)
    assert search(2) == 1
    assert "holds trials of another search space" in capsys.readouterr().err
    assert len(jobs.ran) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.sweeper.n_jobs=0"],
        ["hydra.sweeper.n_trials=0"],
        ["optimizer.lr=tag(log, interval(0,1))"],
        ["optimizer.lr=interval(1,0)"],
    ],
)
def test_what_cannot_be_searched_is_one_sentence(jobs, search, capsys, words):
    assert search(2, *words) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not jobs.ran


@pytest.mark.parametrize(
    ("word", "named"),
    [('+then.more=["seed=1"]', "then.more"), ("+experiment=later", "optimizer.weight_decay: 0.05 -> 0.3")],
)
def test_a_search_whose_trials_would_train_something_else_by_a_file_or_by_what_follows_is_refused(
    jobs, search, capsys, monkeypatch, word, named
):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # what is left there names the folder of this test
    file = Path("own/experiment/later.yaml")
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\noptimizer: {weight_decay: 0.05}\n")
    more = ["hydra.sweeper.direction=minimize"] if word.startswith("+then") else [word]
    words = [f"hydra.searchpath=[file://{Path('own').absolute()}]", *more]
    assert search(1, *words) == 0
    file.write_text("# @package _global_\noptimizer: {weight_decay: 0.3}\n")
    assert search(2, *words, *([word] if word not in words else [])) == 1
    assert named in capsys.readouterr().err
    assert len(jobs.ran) == 1
