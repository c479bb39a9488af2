"""Sweeps beyond the first day: given on the command line, stopped at the first failure, or refused."""

import json
from pathlib import Path

import pytest
from conftest import TINY_MAE

from mae_hydra.experiment.status import read_status

ONE_STEP = [*TINY_MAE, "schedule.total=1", "schedule.warmup=0"]


def jobs(outputs: Path) -> list[Path]:
    return sorted(path.parent for path in outputs.rglob("status.json"))


@pytest.mark.slow
def test_a_sweep_needs_no_sweep_file(train, tmp_path, capfd):
    assert train("-m", "model.mask_ratio=0.5,0.75", *ONE_STEP) == 0
    assert len(jobs(tmp_path / "outputs")) == 2
    said = capfd.readouterr().out
    assert "model.mask_ratio" in said  # the table names what was swept, and the metric
    assert "val/loss" in said
    assert "error" not in said


@pytest.mark.slow
def test_with_fail_fast_no_job_starts_after_a_failed_one(train, tmp_path, capfd):
    assert train("-m", "model.mask_ratio=1.5,0.5", *ONE_STEP, "fail_fast=true") == 1
    assert [read_status(job)["state"] for job in jobs(tmp_path / "outputs")] == ["failed"]
    assert "failed" in capfd.readouterr().out  # the table is there all the same
    [row] = json.loads(next((tmp_path / "outputs").rglob("sweeps/*/results.json")).read_text())
    assert "mask_ratio must lie in (0, 1)" in row["error"]


@pytest.mark.parametrize("swept", ["logger=local,wandb_offline", "tags=[a],[b]", "paths.output_root=a,b"])
def test_a_sweep_whose_jobs_would_share_a_directory_is_refused(train, tmp_path, capfd, swept):
    assert train("-m", *ONE_STEP, swept) == 1
    assert "into one directory" in capfd.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_job_of_another_configuration_is_refused_and_marked_and_stays_as_it_was(train, tmp_path, capfd):
    sweep = ["-m", "+sweep=mask_ratio", "model.mask_ratio=0.5", "hydra.sweep.subdir=job", *ONE_STEP]
    assert train(*sweep) == 0
    job = tmp_path / "outputs/sweeps/mask_ratio/job"
    before = (job / "results.json").read_bytes()
    assert train(*sweep, "optimizer.lr=0.5") == 1
    [row] = json.loads((job.parent / "results.json").read_text())
    assert (row["state"], row["value"]) == ("refused", None)
    assert "optimizer.lr" in row["error"]
    assert (job / "results.json").read_bytes() == before
    assert read_status(job)["state"] == "completed"


@pytest.mark.slow
def test_resume_and_another_directory_contradict_each_other(train, capfd):
    assert train(*ONE_STEP, "hydra.run.dir=outputs/a") == 0
    capfd.readouterr()
    assert train(*ONE_STEP, "resume=outputs/a", "hydra.run.dir=outputs/b") == 1
    assert "leave out hydra.run.dir" in capfd.readouterr().err
    assert train("-m", "model.mask_ratio=0.5,0.6", *ONE_STEP, "resume=outputs/a") == 1
    assert "repeat the same command" in capfd.readouterr().err


def test_training_without_evaluation_monitors_the_training_loss(train, tmp_path):
    overrides = [override for override in ONE_STEP if not override.startswith(("+debug", "evaluation."))]
    small = ["data.batch_size=2", "evaluation=none", "engine.log_every=1", "hydra.run.dir=outputs/a"]
    assert train(*overrides, *small) == 0
    results = json.loads(Path("outputs/a/results.json").read_text())
    assert "val/loss" not in results
    assert read_status(Path("outputs/a"))["value"] == results["train/loss"]
