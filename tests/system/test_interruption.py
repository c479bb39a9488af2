"""Ctrl-C and SIGTERM end a run in order, and the same command goes on from there; in real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
from conftest import TINY_MAE

from mae_hydra.engine import Interrupted
from mae_hydra.experiment.status import read_status

ROOT = Path(__file__).parents[2]
LONG = [*TINY_MAE, "schedule.total=40", "checkpoint.every=1000", "evaluation.validation.every=null"]


def start(cwd: Path, *overrides: str) -> subprocess.Popen:
    """As a shell does, with all that is imported."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "train.py"), *overrides, "paths.output_root=outputs"]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen | forked.Forked) -> None:
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said


def wait_for_step(run: Path, step: int, process: subprocess.Popen | forked.Forked) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
        if len(lines) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {process.communicate()}")


def state_of(run: Path) -> dict:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    root = tmp_path_factory.mktemp("whole")
    finish(forked.start(root, *LONG, f"hydra.run.dir={root / 'whole'}"))
    return root / "whole"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "start"), [(signal.SIGINT, start), (signal.SIGTERM, forked.start)])
def test_an_interrupted_run_goes_on_from_its_last_step_and_ends_like_an_unbroken_one(tmp_path, whole, number, start):
    """Ctrl-C reaches one that was typed, SIGTERM one that was forked."""
    broken = tmp_path / "outputs/broken"
    process = start(tmp_path, *LONG, f"hydra.run.dir={broken}")
    wait_for_step(broken, 3, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == Interrupted.exit_code, said
    assert f"To go on: python train.py resume={broken}" in said
    assert "Traceback" not in said
    assert read_status(broken)["state"] == "interrupted"
    assert 3 <= state_of(broken)["step"] < 40

    finish(forked.start(tmp_path, f"resume={broken}"))  # it knows its own words
    status = read_status(broken)
    assert (status["state"], status["attempt"]) == ("completed", 2)
    for name, tensor in state_of(whole)["model"].items():
        assert torch.equal(tensor, state_of(broken)["model"][name]), name
    losses = [
        [
            (line["step"], line["train/loss"])
            for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        ]
        for run in (whole, broken)
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_with_the_same_command(tmp_path):
    command = ["-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *LONG]
    sweep = tmp_path / "outputs/sweeps/mask_ratio"
    process = forked.start(tmp_path, *command)
    deadline = time.monotonic() + 120
    while not list(sweep.glob("*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    [first] = [path.parent for path in sweep.glob("*/metrics.jsonl")]
    wait_for_step(first, 3, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == Interrupted.exit_code, said
    assert len(list(sweep.glob("*/status.json"))) == 1  # the second job has not begun

    finish(forked.start(tmp_path, *command))
    attempts = {path.parent.name: read_status(path.parent)["attempt"] for path in sweep.glob("*/status.json")}
    assert sorted(attempts.values()) == [1, 2]
    assert attempts[first.name] == 2
