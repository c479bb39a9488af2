"""`stop_after`: training ends after so many evaluations without a better value, over interruptions, too."""

import math

import pytest
import torch
from tiny_training import Remembers, Run, settings, stop_at

from mae_hydra.engine import Interrupted
from mae_hydra.engine.callbacks import EarlyStopping
from mae_hydra.types import Evaluation, Progress, Request

VALUES = [5.0, 4.0, math.nan, 4.5, 4.0, 3.0, 9.0, 9.0, 9.0, 1.0]  # of steps 2, 4, 6 …
KEYS = ("step", "best", "callbacks", "evaluated")


class Told:
    """An evaluator that finds what it was told, and at odd steps nothing that is monitored."""

    def due(self, step, total_steps):
        return True

    def run(self, model, step):
        return Evaluation({"loss": VALUES[step // 2 - 1]} if step % 2 == 0 else {"other": 0.0})


def run(path, stop_after, **changes):
    made = Run(path, steps=20, evaluators={"told": Told()}, settings=settings(stop_after=stop_after), **changes)
    made()
    return made


def content(path):
    return torch.load(path / "checkpoints/last.pt", weights_only=True)


@pytest.mark.parametrize(("stop_after", "ends"), [(None, 20), (4, 20), (3, 10), (2, 8)])
def test_training_ends_after_so_many_evaluations_that_were_no_better(tmp_path, stop_after, ends):
    tracker = Remembers()
    made = run(tmp_path, stop_after, tracker=tracker)
    assert made.state.step == ends
    assert tracker.told[-1] == ("finish", "completed")
    assert content(tmp_path)["step"] == ends
    assert content(tmp_path)["best"] == ({"value": 4.0, "step": 4} if ends < 12 else {"value": 1.0, "step": 20})


def test_why_it_ended_is_said_in_numbers(tmp_path):
    for patience, many in ((1, "1 evaluation"), (2, "2 evaluations")):
        stopping, found = EarlyStopping(monitor="val/loss", patience=patience), {"value": 0.5, "step": 2}
        asked = [stopping.on_progress(Progress(s, 20, {"val/loss": 0.7}, {}, found, tmp_path)) for s in (2, 4, 6)]
        assert asked[patience] == Request(stop=f"{many} without a better val/loss than 0.5 of step 2")
        assert asked[:patience] == [None] * patience


@pytest.mark.parametrize("cut", [5, 7, 9])
def test_an_interruption_loses_no_count(tmp_path, cut):
    whole = run(tmp_path / "whole", 3)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", 3, at=stop_at(cut))
    resumed = run(tmp_path / "cut", 3)
    assert resumed.state.step == whole.state.step == 10
    ours, theirs = content(tmp_path / "whole"), content(tmp_path / "cut")
    assert [ours[key] for key in KEYS] == [theirs[key] for key in KEYS]
    assert all(torch.equal(value, theirs["model"][name]) for name, value in ours["model"].items())


def test_a_run_that_has_ended_takes_no_further_step_unless_it_may_wait_longer(tmp_path):
    run(tmp_path, 2)
    assert run(tmp_path, 2).state.step == 8
    assert run(tmp_path, 5).state.step == 20


def test_an_evaluation_that_was_left_to_the_next_start_may_be_the_last(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, 2, at=stop_at(7))
    assert content(tmp_path)["evaluated"] == 7
    assert run(tmp_path, 2).state.step == 8


def test_the_count_of_an_earlier_version_is_taken_over(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, 3, at=stop_at(9))
    saved = content(tmp_path)
    since_best = saved.pop("callbacks")["engine.stop_after"]["since_best"]
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    torch.save(saved | {"since_best": since_best}, tmp_path / "checkpoints/last.pt")
    assert run(tmp_path, 3).state.step == 10


def test_a_number_below_one_is_refused():
    with pytest.raises(ValueError, match="stop_after must be at least 1, got 0"):
        settings(stop_after=0)
