"""`engine.devices=2`: the same run as under torchrun, and no process outlives or is left behind by another."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAE, TINY_UPERNET
from forked import start
from test_interruption import finish, state_of, wait_for_step
from test_processes import run as torchrun

from mae_hydra.engine import Interrupted
from mae_hydra.errors import UserError
from mae_hydra.experiment.processes import num_processes
from mae_hydra.experiment.status import read_status

TWO = ["engine.devices=2", "engine.global_batch=4", "data.batch_size=4"]
LONG = [*TINY_MAE, *TWO, "schedule.total=4000", "checkpoint.every=null", "evaluation.validation.every=null"]


def workers_of(run: Path) -> list[int]:
    """Process ids of the training processes, which stand in the session of their own that they were given."""
    parent = read_status(run)["pid"]
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"launching.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def gone(processes: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in processes):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_two_devices_are_the_same_run_as_two_processes_of_torchrun(tmp_path):
    same = ["model=upernet_vitt", *TINY_UPERNET, "engine.global_batch=4", "data.batch_size=4"]
    finish(start(tmp_path, *same, "engine.devices=2", "hydra.run.dir=outputs/own"))
    torchrun(tmp_path, 2, *same, "hydra.run.dir=outputs/torchrun")
    own, other = (state_of(tmp_path / "outputs" / name) for name in ("own", "torchrun"))
    assert own["step"] == 4
    assert all(torch.equal(value, other["model"][name]) for name, value in own["model"].items())
    status = read_status(tmp_path / "outputs/own")
    assert status["state"] == "completed"
    assert status["value"] == read_status(tmp_path / "outputs/torchrun")["value"]
    assert "micro-batches of 2, 2 processes" in (tmp_path / "outputs/own/train.log").read_text()


@pytest.mark.slow
def test_every_job_of_a_sweep_has_its_processes(tmp_path):
    finish(start(tmp_path, "-m", "+sweep=mask_ratio", "model.mask_ratio=0.5,0.75", *TINY_MAE, *TWO))
    runs = sorted((tmp_path / "outputs/sweeps/mask_ratio").glob("*/status.json"))
    assert [read_status(run.parent)["state"] for run in runs] == ["completed"] * 2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_takes_the_job_down_promptly_and_is_named(tmp_path, rank):
    directory = tmp_path / "outputs/run"
    process = start(tmp_path, *LONG, f"hydra.run.dir={directory}")
    wait_for_step(directory, 1, process)
    workers = workers_of(directory)
    assert len(workers) == 2
    os.kill(workers[rank], signal.SIGKILL)
    _, said = process.communicate(timeout=40)
    assert process.returncode == 1
    assert gone(workers, 1)
    assert f"process {rank}: was killed by SIGKILL; the system does that where memory runs out" in said
    assert read_status(directory)["state"] == "failed"
    assert f"process {rank}" in (directory / "error.txt").read_text()


@pytest.mark.slow
def test_a_signal_to_the_one_process_that_was_typed_saves_all_and_the_run_goes_on(tmp_path):
    directory = tmp_path / "outputs/run"
    process = start(tmp_path, *LONG, f"hydra.run.dir={directory}")
    wait_for_step(directory, 1, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == Interrupted.exit_code, said
    assert f"resume={directory}" in said
    assert "Traceback" not in said
    step = state_of(directory)["step"]
    assert 0 < step < 4000
    again = start(tmp_path, f"resume={directory}")
    wait_for_step(directory, len((directory / "metrics.jsonl").read_text().splitlines()) + 1, again)
    workers = workers_of(directory)
    again.kill()  # and nobody stays behind where even that process is gone
    again.communicate(timeout=20)
    assert gone(workers, 20)


@pytest.mark.slow
def test_a_mistake_met_by_the_processes_is_one_sentence(tmp_path):
    process = start(tmp_path, *TINY_MAE, "engine.devices=2", "engine.global_batch=3", "data.batch_size=3")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.count("global_batch 3 is not a multiple of the 2 processes") == 1
    assert "Traceback" not in said


def test_how_many_processes_are_started(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for devices, device, expected in (
        (1, "auto", 1),
        (3, "auto", 3),
        (4, "auto", 4),
        ("auto", "auto", 4),
        ("auto", "cpu", 1),
    ):
        assert num_processes({"devices": devices, "device": device}) == expected
    assert num_processes({"devices": 9, "device": "cpu"}) == 9
    with pytest.raises(UserError, match=r"engine.devices is 9, but this machine has 4; use engine.devices=4 or auto"):
        num_processes({"devices": 9, "device": "auto"})
    monkeypatch.setenv("RANK", "0")  # torchrun has started this one
    assert num_processes({"devices": 3, "device": "auto"}) == 1
