"""A job is given up where it is worse than the others were at the same step, by what lies in their directories."""

import json
from pathlib import Path

import pytest

from mae_hydra.errors import UserError
from mae_hydra.launching.pruning import Pruning
from mae_hydra.types import Progress, Request

STEPS = (10, 20, 30)


def job(sweep: Path, name: str, values: list[float | None], key: str = "val/loss") -> Path:
    run = sweep / name
    run.mkdir(parents=True)
    (sweep / "multirun.yaml").touch()
    lines = [{"step": step, "train/loss": 1.0, key: value} for step, value in zip(STEPS, values, strict=False)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def judged(
    run: Path, step: int, value: float, *, mode: str = "min", key: str = "val/loss", **settings
) -> Request | None:
    pruning = Pruning(monitor=key, mode=mode, **({"keep": 0.5, "min_runs": 3, "warmup_steps": 0} | settings))
    return pruning.on_progress(Progress(step, 30, {key: value}, {key: value}, None, run))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three others: at step 20 their best were 0.5, 0.6 and 0.8."""
    job(tmp_path, "a", [0.9, 0.5, 0.4])
    job(tmp_path, "b", [0.7, 0.6])
    job(tmp_path, "c", [0.8, 0.9])
    return tmp_path


def test_what_is_worse_than_the_median_at_the_same_step_is_given_up_and_nothing_else(sweep: Path):
    own = job(sweep, "own", [0.9, 0.61])
    asked = judged(own, 20, 0.61)
    assert asked is not None
    assert asked.given_up
    assert asked.stop == "val/loss 0.61 is worse than 0.6, what the best 50% of 3 others had"
    assert judged(own, 20, 0.6) is None
    assert judged(own, 20, 0.61, min_runs=4) is None
    assert judged(own, 20, 0.61, warmup_steps=21) is None
    assert judged(own, 30, 5.0) is None  # the last step: it is done, and only one other has come as far
    assert judged(own, 20, 0.61, keep=0.9) is None
    assert judged(job(sweep, "early", [0.1]), 20, 3.0) is None  # its own best counts, as the others' does


def test_the_best_value_of_each_other_job_up_to_that_step_counts_by_hand(tmp_path: Path):
    for name, values in (
        ("a", [0.9, 0.5, 0.1]),
        ("b", [0.4, 0.8, 0.8]),
        ("c", [0.7, 0.6, 0.6]),
        ("d", [0.3, 0.2, 0.2]),
    ):
        job(tmp_path, name, values)  # at step 20: 0.5, 0.4, 0.6 and 0.2
        job(tmp_path / name, "probe", [0.01, 0.01])  # what follows a job is none of the sweep's
    job(tmp_path, "short", [0.01])  # it has not come as far
    asked = judged(job(tmp_path, "own", [0.9, 0.55]), 20, 0.55, warmup_steps=20)
    assert asked is not None
    assert asked.stop == "val/loss 0.55 is worse than 0.5, what the best 50% of 4 others had"
    low = judged(tmp_path / "own", 20, 0.55, keep=0.25, min_runs=4)
    assert low is not None
    assert low.stop == "val/loss 0.55 is worse than 0.4, what the best 25% of 4 others had"
    assert judged(job(tmp_path, "better", [0.9, 0.45]), 20, 0.45) is None
    assert judged(job(tmp_path, "done", [0.9, 0.9, 0.9]), 30, 0.9) is None  # at its last step, where all others are
    assert judged(tmp_path / "own", 20, 0.55, warmup_steps=21) is None


def test_what_is_to_be_large_is_given_up_where_it_is_small(sweep: Path):
    for name, values in (("d", [30.0]), ("e", [20.0]), ("f", [10.0])):
        job(sweep, name, values, "val/mIoU")
    own = job(sweep, "own", [15.0], "val/mIoU")
    [asked] = [judged(own, 10, 15.0, mode="max", key="val/mIoU")]
    assert asked is not None
    assert "val/mIoU 15 is worse than 20" in asked.stop
    assert judged(own, 10, 25.0, mode="max", key="val/mIoU") is None


def test_no_number_is_worse_than_any_and_decides_nothing_where_the_others_have_none_either(tmp_path: Path):
    own = job(tmp_path, "own", [None])
    for name in "abc":
        job(tmp_path, name, [0.5 if name == "a" else None])
    assert judged(own, 10, float("nan")) is None  # the median is none
    (tmp_path / "d").mkdir()
    (tmp_path / "d/metrics.jsonl").write_text('{"step": 10, "val/loss": 0.4}\n{"step": 1')
    job(tmp_path, "e", [0.3])
    assert judged(own, 10, float("nan")) is not None
    assert judged(own, 10, 0.5) is None


def test_it_is_told_of_no_evaluation_asks_nothing_and_judges_anew_where_a_run_goes_on(sweep: Path):
    own = job(sweep, "own", [0.9, 0.7])
    first = Pruning(monitor="val/loss", mode="min", keep=0.5, min_runs=3, warmup_steps=0)
    assert first.on_progress(Progress(19, 30, {"train/loss": 9.0}, {"val/loss": 0.9}, None, own)) is None
    assert first.on_progress(Progress(20, 30, {"val/loss": 0.7}, {"val/loss": 0.7}, None, own)) is not None
    again = Pruning(monitor="val/loss", mode="min", keep=0.5, min_runs=3, warmup_steps=0)
    assert again.on_progress(Progress(20, 30, {}, {"val/loss": 0.7}, None, own)) is None
    again.load_state_dict(first.state_dict())
    assert again.on_progress(Progress(20, 30, {}, {"val/loss": 0.7}, None, own)) is not None


def test_a_run_that_belongs_to_no_sweep_is_compared_with_nothing(tmp_path: Path):
    job(tmp_path, "a", [0.1])
    (tmp_path / "multirun.yaml").unlink()
    with pytest.raises(UserError, match=r"it compares the jobs of a sweep .*own is a single run"):
        judged(tmp_path / "own", 10, 0.5)
    for settings in ({"keep": 1.0}, {"keep": 0.0}, {"min_runs": 0}):
        with pytest.raises(UserError, match=r"keep must lie in \(0, 1\) and min_runs be 1 or more"):
            judged(tmp_path / "own", 10, 0.5, **settings)
