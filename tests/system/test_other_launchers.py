"""Sweeps by what others wrote: Optuna's search and joblib's processes end in the same directories and table."""

import json
import math

import pytest
import yaml
from conftest import TINY_MAE, TINY_UPERNET
from forked import start
from omegaconf import OmegaConf
from test_interruption import start as typed

from mae_hydra.launching import launch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "words", "jobs"),
    [
        (start, ["+sweep=optuna", "hydra.sweeper.n_trials=3", *TINY_UPERNET], 3),
        # It pickles Hydra's plugins, which a forked process has not imported by itself.
        (typed, ["+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", "hydra/launcher=joblib", *TINY_MAE], 2),
    ],
    ids=["optuna", "joblib"],
)
def test_the_sweep_ends_in_its_table(tmp_path, start, words, jobs):
    process = start(tmp_path, "-m", *words)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    [table] = (tmp_path / "outputs/sweeps").glob("*/results.json")
    rows = json.loads(table.read_text())
    assert [row["state"] for row in rows] == ["completed"] * jobs
    assert "mae-hydra report" in said


@pytest.mark.slow
def test_a_search_goes_on_though_a_trial_fails_and_says_so_where_all_do(tmp_path):
    search = ["-m", "hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials=3", *TINY_MAE]
    search += ["hydra.sweeper.n_jobs=1", "model.mask_ratio=choice(0.5,1.5)"]
    process = start(tmp_path, *search, "hydra.sweeper.sampler.seed=0", "hydra.sweep.dir=x")  # 1.5, 0.5, 1.5
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in errors
    rows = json.loads((tmp_path / "x/results.json").read_text())
    assert [row["state"] for row in rows] == ["completed", "failed"]
    best = yaml.safe_load((tmp_path / "x/optimization_results.yaml").read_text())
    assert best == {"name": "optuna", "best_params": {"model.mask_ratio": 0.5}, "best_value": rows[0]["value"]}

    process = start(tmp_path, *search, "hydra.sweeper.sampler.seed=3", "hydra.sweep.dir=y")  # 1.5 three times
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: the search has no best trial to name: none is complete" in errors
    assert "Traceback" not in errors


def test_what_is_no_number_is_no_value(monkeypatch):
    for value, told in ((math.nan, None), (0.0, 0.0)):
        monkeypatch.setattr("mae_hydra.launching.job.run_job", lambda config, value=value: value)
        assert launch._job(OmegaConf.create()) == told


@pytest.mark.slow
def test_a_job_that_is_worse_than_the_others_is_given_up_also_in_a_process_of_its_own(tmp_path):
    sweep = ["-m", *TINY_MAE, "optimizer.lr=1e-2,1e-9", "hydra/launcher=gpus", "hydra.launcher.jobs=1"]
    sweep += [
        "callbacks=pruning",
        "callbacks.pruning.min_runs=1",
        "schedule.total=40",
        "evaluation.validation.every=20",
    ]
    process = start(tmp_path, *sweep, "hydra.sweep.dir=x")
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "job 1 pruned: pruned at step 20 of 40: val/loss" in said
    states = {row["optimizer.lr"]: row["state"] for row in json.loads((tmp_path / "x/results.json").read_text())}
    assert states == {1e-2: "completed", 1e-9: "pruned"}
