"""`hydra/launcher=gpus`: jobs side by side, each with what is its own; here on the CPU, with devices pretended."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import TINY_MAE
from forked import start
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.read_runs import read_sweep
from mae_hydra.launching.gpus_launcher import _Running, _slots, _tell
from mae_hydra.launching.sweep_jobs import SweepJob

SIDE_BY_SIDE = ["-m", "+sweep=mask_ratio", *TINY_MAE, "hydra/launcher=gpus", "hydra.launcher.jobs=2"]


@pytest.mark.slow
def test_of_six_jobs_exactly_what_failed_and_what_was_killed_is_run_again(tmp_path):
    """Side by side; neither takes another along, and Hydra's own launcher goes on in the same directories."""
    words = [*SIDE_BY_SIDE, "model.mask_ratio=0.5,1.5,0.3,0.4,0.6,0.75", "schedule.total=80", "checkpoint.every=10"]
    words += ["evaluation.validation.every=null"]
    sweep = tmp_path / "outputs/sweeps/mask_ratio"
    process = start(tmp_path, *words)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(sweep.glob("mask_ratio-0.6*/metrics.jsonl")):
        time.sleep(0.01)
    [killed] = sweep.glob("mask_ratio-0.6*")
    os.kill(json.loads((killed / "status.json").read_text())["pid"], signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "6 jobs, 2 at a time" in said
    assert "job 1 failed: UserError: model.mask_ratio must lie in" in said
    assert said.index("job 1 failed") < said.index("job 2 started") < said.index("job 0 completed")  # in its place
    runs = read_sweep(sweep)
    assert sorted(run.state for run in runs) == ["completed"] * 4 + ["failed", "interrupted"]
    assert all((run.directory / "console.log").read_text() for run in runs)
    process = start(tmp_path, *words)
    process.communicate(timeout=300)
    assert process.returncode == 1  # one is still a mistake
    runs = read_sweep(sweep)
    again = {run.name for run in runs if run.status["attempt"] == 2}
    assert again == {run.name for run in runs if run.name.startswith(("mask_ratio-0.6", "mask_ratio-1.5"))}
    rows = json.loads((sweep / "results.json").read_text())
    assert [row["state"] for row in rows] == ["completed"] * 5 + ["failed"]

    basic = [word for word in words if "launcher" not in word and "mask_ratio=" not in word]
    process = start(tmp_path, *basic, "model.mask_ratio=0.5,0.75")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert said.count("is already complete") == 2
    assert {path.parent.name for path in sweep.glob("*/status.json")} == {run.name for run in runs}


@pytest.mark.slow
def test_an_interruption_reaches_every_job_and_the_same_command_goes_on(tmp_path):
    long = ["model.mask_ratio=0.5,0.75,0.9", "schedule.total=200", "evaluation.validation.every=null"]
    process = start(tmp_path, *SIDE_BY_SIDE, *long, "checkpoint.every=null")
    sweep = tmp_path / "outputs/sweeps/mask_ratio"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(sweep.glob("*/metrics.jsonl"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    runs = read_sweep(sweep)
    assert [run.state for run in runs] == ["interrupted"] * 2  # the third was never begun
    process = start(tmp_path, *SIDE_BY_SIDE, *long, "checkpoint.every=null")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert [(run.state, run.status["attempt"]) for run in read_sweep(sweep)] == [
        ("completed", 2),
        ("completed", 2),
        ("completed", 1),
    ]


@pytest.mark.parametrize(
    ("visible", "jobs", "each", "expected"),
    [
        (None, "auto", 1, ["0", "1", "2", "3"]),
        (None, "auto", 2, ["0,1", "2,3"]),
        ("5,7,2,3", "auto", 2, ["5,7", "2,3"]),
        (None, 3, 1, ["0", "1", "2"]),
        (None, "auto", "auto", ["0,1,2,3"]),
        (None, 8, 2, ["0,1", "2,3"]),
    ],
)
def test_every_job_has_devices_that_no_other_one_has(monkeypatch, visible, jobs, each, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in _slots(jobs, each, 9, "auto")] == expected
    assert len(_slots("auto", 1, 2, "auto")) == 2  # not more than there are jobs


@pytest.mark.parametrize(
    ("code", "state", "stage", "said", "known"),
    [
        (0, "completed", "completed", "job 3 completed: value 0.5", None),
        (75, "interrupted", None, "job 3 interrupted", None),  # its directory says all
        (130, "interrupted", None, "job 3 interrupted", None),
        (0, "pruned", None, "job 3 pruned: why", None),
        (1, "failed", None, "job 3 failed: ValueError: x", None),
        (1, "completed", "failed", "job 3 failed: ValueError: x", None),
        (1, "completed", None, "job 3 failed: stage s failed: exit code 1", "failed"),  # wrong before its directory
        (1, None, None, "job 3 failed: stage s failed: exit code 1", "failed"),
        (0, None, None, "job 3 failed: stage s failed: exit code 1", "failed"),  # it ended well, and left nothing
        (-9, "running", None, "job 3 failed: ended by SIGKILL", "interrupted"),
    ],
)
def test_a_job_that_its_directory_does_not_tell_of_has_its_row(
    tmp_path, monkeypatch, capsys, code, state, stage, said, known
):
    monkeypatch.setattr(sweeps, "outcomes", {})
    for directory, told in ((tmp_path, state), (tmp_path / "s", stage)):
        directory.mkdir(exist_ok=True)
        if told is not None:
            status = {"state": told, "value": 0.5, "error": "ValueError: x" if told == "failed" else None}
            status |= {"ended": "why" if told == "pruned" else None}
            (directory / "status.json").write_text(json.dumps(status))
    (tmp_path / "console.log").write_text("begun\nerror: stage s failed: exit code 1\n")
    job = SweepJob(3, ["a=1"], tmp_path, OmegaConf.create({"then": {"s": []}}))
    _tell(_Running(job, 0, SimpleNamespace(returncode=code)))
    assert said in capsys.readouterr().out
    outcome = sweeps.outcomes.get(tmp_path.name)
    assert (outcome and outcome.state) == known
    assert outcome is None or (outcome.failed and outcome.overrides == ["a=1"])


def test_what_cannot_be_shared_out_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(UserError, match="each job wants 8 devices"):
        _slots("auto", 8, 3, "auto")
    with pytest.raises(UserError, match="must be a number from 1, or auto, got 'many'"):
        _slots("many", 1, 3, "auto")
    for jobs, each, name in ((0, 1, "jobs"), ("auto", 0, "devices_of_a_job"), (2.0, 1, "jobs")):
        with pytest.raises(UserError, match=rf"hydra\.launcher\.{name} must be a number from 1"):
            _slots(jobs, each, 3, "auto")
    with pytest.raises(UserError, match="finds no device here"):
        _slots("auto", 1, 3, "cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(7))
    for jobs, wanted, threads in ((2, 3, ["3", "3"]), (9, 3, ["2", "2", "2"]), (9, 9, ["1"] * 9)):
        assert [slot["OMP_NUM_THREADS"] for slot in _slots(jobs, 1, wanted, "cpu")] == threads


@pytest.mark.slow
def test_jobs_take_what_is_not_in_a_file(train, capfd):
    """Without jobs on the CPU: one sentence, before anything is begun."""
    assert train("-m", "+sweep=mask_ratio", *TINY_MAE, "hydra/launcher=gpus") == 1
    assert "say how many jobs to run at a time: hydra.launcher.jobs=2" in capfd.readouterr().err
    assert not list(Path("outputs").glob("sweeps/*/*/status.json"))
