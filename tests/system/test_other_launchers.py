"""Sweeps by what others wrote: Optuna's search and joblib's processes end in the same directories and table."""

import json

import pytest
from conftest import TINY_MAE, TINY_UPERNET
from test_interruption import start


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["+sweep=optuna", "hydra.sweeper.n_trials=3", *TINY_UPERNET], 3),
        (["+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", "hydra/launcher=joblib", *TINY_MAE], 2),
    ],
    ids=["optuna", "joblib"],
)
def test_the_sweep_ends_in_its_table(tmp_path, words, jobs):
    process = start(tmp_path, "-m", *words)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    [table] = (tmp_path / "outputs/sweeps").glob("*/results.json")
    rows = json.loads(table.read_text())
    assert [row["state"] for row in rows] == ["completed"] * jobs
    assert "mae-hydra report" in said
