"""submitit starts the jobs of a sweep as on a cluster, but here: tasks, and queueing again after a warning."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import TINY_MAE
from test_interruption import finish, start, state_of  # not forked: submitit pickles what Hydra imported

from mae_hydra.experiment.status import read_status

SUBMITIT = ["-m", "hydra/launcher=submitit_local", *TINY_MAE, "hydra.sweep.dir=outputs/sweeps/x"]
TASKS = ["hydra.launcher.tasks_per_node=2", "engine.global_batch=4", "data.batch_size=2"]


def tasks_of(folder: Path) -> list[int]:
    command = ["pgrep", "-f", f"submitit.core._submit {folder}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]


@pytest.mark.slow
def test_a_sweep_goes_on_though_a_job_fails(tmp_path):
    process = start(tmp_path, *SUBMITIT, "model.mask_ratio=0.5,1.5")
    process.communicate(timeout=300)
    assert process.returncode == 1
    rows = json.loads((tmp_path / "outputs/sweeps/x/results.json").read_text())
    assert [row["state"] for row in rows] == ["completed", "failed"]
    assert "model.mask_ratio must lie in" in rows[1]["error"]


@pytest.mark.slow
@pytest.mark.parametrize("extra", [TASKS, ["engine.devices=2", *TASKS[1:]]], ids=["two tasks", "two devices"])
def test_a_job_that_is_warned_is_queued_again_and_goes_on(tmp_path, extra):
    long = ["schedule.total=200", "evaluation.validation.every=null", "checkpoint.every=null"]
    process = start(tmp_path, *SUBMITIT, *long, *extra)
    sweep = tmp_path / "outputs/sweeps/x"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(sweep.glob("*/metrics.jsonl")):
        time.sleep(0.05)
    for task in tasks_of(sweep / ".submitit"):
        os.kill(task, signal.SIGUSR2)
    finish(process)
    [run] = [path.parent for path in sweep.glob("*/status.json")]
    status = read_status(run)
    assert (status["state"], status["attempt"]) == ("completed", 2)
    assert state_of(run)["step"] == 200
    log = (run / "train.log").read_text()
    assert len(re.findall("2 processes", log)) == 2
    assert re.search(r"200 steps of 4 images .*, from step \d+", log)
