"""Callbacks: told what a run logs and finds, they may end it or have it saved, and remember over interruptions."""

import pytest
import torch
from tiny_training import Remembers, Run, settings, stop_at

from mae_hydra.engine import Callbacks, Interrupted
from mae_hydra.errors import UserError
from mae_hydra.types import Progress, Request


class Seen:
    """Keeps what it is told, counts evaluations in its state, and asks for what it is given at a step."""

    def __init__(self, **asks):
        self.asks = {int(step.removeprefix("at")): request for step, request in asks.items()}
        self.told, self.count = [], 0

    def on_progress(self, progress):
        self.told.append(progress)
        self.count += "val/loss" in progress.new
        return self.asks.get(progress.step)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def content(path, name="last.pt"):
    return torch.load(path / "checkpoints" / name, weights_only=True)


def run(path, callback, **changes):
    made = Run(path, callbacks={"callbacks.seen": callback}, **changes)
    made()
    return made


def test_it_is_told_what_was_logged_and_found_and_what_is_best(tmp_path):
    seen = Seen()
    run(tmp_path, seen)
    assert [(each.step, each.total_steps) for each in seen.told] == [(s, 12) for s in (0, 1, 3, 4, 6, 8, 9, 12)]
    kinds = {each.step: {name.split("/")[0] for name in each.new if "/" in name} - {"perf"} for each in seen.told}
    assert kinds == {0: set(), 1: {"train"}, 3: {"val"}, 4: {"train"}, 6: {"val"}, 8: {"train"}, 9: {"val"}} | {
        12: {"train", "val"}
    }
    last = seen.told[-1]
    assert last.latest["val/loss"] == last.new["val/loss"]
    assert last.best["value"] == min(each.new["val/loss"] for each in seen.told if "val/loss" in each.new)
    assert seen.told[3].best == {"value": seen.told[2].new["val/loss"], "step": 3}  # step 4 has the best of step 3


def test_nothing_that_it_asks_for_changes_what_is_trained(tmp_path):
    Run(tmp_path / "without")()
    run(tmp_path / "with", Seen(at3=Request(save=True), at8=Request(save=True)))
    ours, theirs = content(tmp_path / "without"), content(tmp_path / "with")
    assert all(torch.equal(value, theirs["model"][name]) for name, value in ours["model"].items())


def test_a_checkpoint_is_saved_where_one_is_asked_for(tmp_path):
    run(tmp_path, Seen(at8=Request(save=True)), every=None, monitor="val/none")
    assert content(tmp_path, "step-00000008.pt")["step"] == 8


def test_the_end_that_it_asks_for_is_the_end_and_no_start_goes_beyond_it(tmp_path):
    tracker = Remembers()
    made = run(tmp_path, Seen(at6=Request(stop="enough")), tracker=tracker)
    assert (made.state.step, made.state.callbacks.ended) == (6, "enough (callbacks.seen)")
    assert tracker.told[-1] == ("finish", "completed")
    assert content(tmp_path)["step"] == content(tmp_path)["evaluated"] == 6
    assert run(tmp_path, Seen(at6=Request(stop="enough"))).state.step == 6
    assert run(tmp_path, Seen()).state.step == 12  # nobody asks any more


@pytest.mark.parametrize("cut", [5, 6, 10])
def test_an_interrupted_run_remembers(tmp_path, cut):
    whole = run(tmp_path / "whole", Seen())
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", Seen(), at=stop_at(cut))
    resumed = Seen()
    made = run(tmp_path / "cut", resumed)
    assert resumed.told[0].new == {}
    assert made.state.callbacks.state_dict() == whole.state.callbacks.state_dict() == {"callbacks.seen": {"count": 4}}


def test_a_callback_that_is_new_to_a_run_begins_and_one_that_is_gone_is_forgotten(tmp_path):
    with pytest.raises(Interrupted):
        run(tmp_path, Seen(), at=stop_at(7))
    new = Seen()
    made = Run(tmp_path, callbacks={"callbacks.other": new})
    made()
    assert made.state.callbacks.state_dict() == {"callbacks.other": {"count": 2}}


def test_an_error_of_it_ends_the_run_with_its_steps_saved(tmp_path):
    class Fails(Seen):
        def on_progress(self, progress):
            if progress.step == 8:
                raise OSError("no line to the server")

    tracker = Remembers()
    with pytest.raises(UserError, match=r"callbacks.seen failed after step 8 \(OSError: no line to the server\); mend"):
        run(tmp_path, Fails(), tracker=tracker)
    assert content(tmp_path)["step"] == 8
    assert tracker.told[-1] == ("finish", "failed")
    assert run(tmp_path, Seen()).state.step == 12


def test_what_several_ask_for_is_done_whichever_of_them_asks(tmp_path, monkeypatch):
    def asked(**requests):
        callbacks = Callbacks({f"callbacks.{name}": Seen(at2=request) for name, request in requests.items()})
        return callbacks.tell(Progress(2, 9, {}, {}, None, tmp_path)), callbacks.ended, callbacks.given_up

    assert asked(a=Request(save=True), b=Request()) == (True, "", False)
    assert asked(a=Request(), b=Request(save=True)) == (True, "", False)
    assert asked(a=Request(stop="x", given_up=True), b=Request(stop="y"), c=None) == (
        False, "x (callbacks.a); y (callbacks.b)", True,
    )  # fmt: skip
    assert asked(a=Request(stop="x"), b=Request(stop="y", given_up=True))[2] is True
    assert asked(a=Request(given_up=True)) == (False, "", False)  # it goes on
    assert asked() == (False, "", False)
    monkeypatch.setenv("RANK", "1")
    assert asked(a=Request(stop="x", save=True)) == (False, "", False)  # the main process asks


def test_what_a_checkpoint_remembers_of_others_is_left():
    first, second = Seen(), Seen()
    Callbacks({"a": first, "b": second}).load_state_dict({"b": {"count": 3}, "c": {"count": 4}})
    assert (first.count, second.count) == (0, 3)


def test_a_state_that_no_checkpoint_can_hold_is_refused_before_training():
    class Strange(Seen):
        def state_dict(self):
            return self.state

    for strange in ({"callback": Strange()}, endless := {}):
        endless["itself"] = endless
        Strange.state = strange
        with pytest.raises(UserError, match=r"callbacks.x: its state_dict\(\) gives what JSON does not hold"):
            Callbacks({"callbacks.w": Seen(), "callbacks.x": Strange()})


def test_an_answer_that_is_no_request_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"callbacks.seen failed after step 4 .*bool"):
        run(tmp_path, Seen(at4=True), settings=settings())


def test_other_processes_do_as_the_main_one_says(tmp_path, monkeypatch):
    """They ask no callback, and stop, save or fail with it."""
    callbacks = Callbacks({"callbacks.a": Seen(at2=Request(stop="own"))})
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("mae_hydra.engine.callbacks.broadcast_object", lambda own: (None, "theirs (a)", True, False))
    assert callbacks.tell(Progress(2, 9, {}, {}, None, tmp_path)) is False
    assert (callbacks.ended, callbacks.given_up) == ("theirs (a)", True)
    monkeypatch.setattr("mae_hydra.engine.callbacks.broadcast_object", lambda own: (None, "", False, True))
    assert callbacks.tell(Progress(3, 9, {}, {}, None, tmp_path)) is True
    assert (callbacks.ended, callbacks.given_up) == ("", False)
    monkeypatch.setattr("mae_hydra.engine.callbacks.broadcast_object", lambda own: ("a failed", "", False, False))
    with pytest.raises(UserError, match="a failed; mend it"):
        callbacks.tell(Progress(4, 9, {}, {}, None, tmp_path))
