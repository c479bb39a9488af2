"""Signals, sent for real."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import forked
import pytest
import torch

from mae_hydra.engine import interrupt
from mae_hydra.engine.interrupt import Interruption
from mae_hydra.signals import SIGNALS

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_training_process_with_its_state_saved(tmp_path, number):
    script = Path(__file__).with_name("tiny_training.py")
    environment = forked.ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [forked.python(), script, tmp_path]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "training\n"
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75
    step = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["step"]
    assert step >= 4
    assert said == f"interrupted after step {step}, state saved\n"


def test_the_first_signal_only_asks_and_a_second_ctrl_c_leaves_at_once():
    interruption = Interruption()
    with interruption:
        assert not interruption.requested(CPU, together=True)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested(CPU, together=True)
        signal.raise_signal(signal.SIGTERM)  # patience: the state is being saved
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_several_processes_stop_at_one_step_or_not_at_all(monkeypatch):
    """One of them got the signal: none acts on it alone, and where all ask together the others hear of it."""
    asked = []
    monkeypatch.setattr(interrupt, "world_size", lambda: 2)
    monkeypatch.setattr(interrupt, "any_rank", lambda mine, device: asked.append(mine) or True)
    with Interruption() as unasked:
        assert not unasked.requested(CPU, together=False)
        assert unasked.requested(CPU, together=True)
    with Interruption() as signalled:
        signal.raise_signal(signal.SIGTERM)
        assert not signalled.requested(CPU, together=False)
        assert signalled.requested(CPU, together=True)
    assert asked == [False, True]


@pytest.mark.parametrize(("rank", "times"), [("0", 1), ("1", 0)])
def test_of_several_processes_one_says_that_it_stops(monkeypatch, capfd, rank, times):
    monkeypatch.setenv("RANK", rank)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested(CPU, together=True)
    assert capfd.readouterr().err.count("Stopping: the step is finished and the state saved.") == times


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption():
        assert all(signal.getsignal(n) is not old for n, old in zip(SIGNALS, before, strict=True))
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_block_that_may_be_abandoned_is_left_in_the_middle():
    reached = []
    with Interruption() as interruption:
        with interruption.abandons():
            reached.append("middle")
            signal.raise_signal(signal.SIGTERM)
            reached.append("end")
        assert reached == ["middle"]
        assert interruption.requested(CPU, together=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 7), (signal.SIGHUP, 7), (signal.SIGTERM, 128 + 15)])
def test_a_forked_worker_does_not_take_the_signal_for_its_own(number, code):
    """Ctrl-C goes to the whole process group; the workers must live until the step is finished, unless they are told
    to end."""
    with Interruption() as interruption:
        child = os.fork()
        if child == 0:
            signal.raise_signal(number)
            os._exit(7 if not interruption.requested(CPU, together=True) else 8)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == code


def test_a_block_is_left_by_no_signal_behind_it_nor_where_others_would_wait(monkeypatch):
    with Interruption() as interruption:
        with interruption.abandons():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested(CPU, together=True)
    monkeypatch.setattr(interrupt, "world_size", lambda: 2)
    reached = []
    with Interruption() as interruption, interruption.abandons():
        signal.raise_signal(signal.SIGTERM)
        reached.append("end")
    assert reached == ["end"]


def test_a_terminal_that_has_gone_keeps_nobody_from_stopping(monkeypatch):
    def gone(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(interrupt.os, "write", gone)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGHUP)
        assert interruption.requested(CPU, together=True)
        assert interruption.signal == signal.SIGHUP


def test_a_training_in_another_thread_sets_no_handlers():
    """Python allows none there."""
    failed = []

    def train():
        try:
            with Interruption() as interruption:
                assert not interruption.requested(CPU, together=True)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert failed == []
