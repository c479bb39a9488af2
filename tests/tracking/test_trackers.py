"""Several trackers as one, and what a broken one may do: nothing."""

import os
import subprocess
import sys

import pytest

from mae_hydra.tracking import Trackers
from mae_hydra.types import Evaluation


class Remembers:
    def __init__(self, fails_in: str = "", error: type[Exception] = ConnectionError) -> None:
        self.told, self.fails_in, self.error = [], fails_in, error

    def __getattr__(self, method: str):
        def tell(*arguments):
            if method == self.fails_in:
                raise self.error("the server is gone")
            self.told.append((method, *arguments))

        return tell


def tell_everything(trackers: Trackers) -> None:
    trackers.start("dir", {"a": 1}, 5)
    trackers.scalars(6, {"loss": 1.0})
    trackers.evaluation(6, "tiny", Evaluation({"mIoU": 2.0}))
    trackers.finish("failed", {"loss": 1.0})


EVERYTHING = [
    ("start", "dir", {"a": 1}, 5),
    ("scalars", 6, {"loss": 1.0}),
    ("evaluation", 6, "tiny", Evaluation({"mIoU": 2.0})),
    ("finish", "failed", {"loss": 1.0}),
]


def test_each_tracker_is_told_everything():
    trackers = [Remembers(), Remembers()]
    tell_everything(Trackers(trackers))
    assert [tracker.told for tracker in trackers] == [EVERYTHING, EVERYTHING]


@pytest.mark.parametrize(
    ("method", "error"),
    [("start", ConnectionError), ("scalars", ValueError), ("evaluation", RuntimeError), ("finish", Exception)],
)
def test_a_failing_tracker_is_dropped_with_one_warning_and_stops_nothing(capsys, caplog, method, error):
    broken, sound = Remembers(fails_in=method, error=error), Remembers()
    trackers = Trackers([broken, sound])
    tell_everything(trackers)
    trackers.scalars(7, {})
    assert sound.told == [*EVERYTHING, ("scalars", 7, {})]
    assert broken.told == EVERYTHING[: [name for name, *_ in EVERYTHING].index(method)]
    warning = "warning: Remembers failed (the server is gone); training goes on without it\n"
    assert capsys.readouterr().err == warning
    [logged] = [record for record in caplog.records if record.name == "mae_hydra"]
    assert (logged.message, logged.exc_info[0]) == (f"Remembers.{method} failed", error)  # where, in the log


@pytest.mark.parametrize("method", ["start", "scalars", "evaluation"])
def test_the_runs_own_trackers_are_told_everything_to_the_end(capsys, method):
    own, other = Remembers(fails_in=method), Remembers()
    trackers = Trackers([other], own=[own])
    tell_everything(trackers)
    trackers.scalars(7, {})
    told = [*EVERYTHING, ("scalars", 7, {})]
    assert other.told == told
    assert own.told == [each for each in told if each[0] != method]
    assert capsys.readouterr().err.count("warning: Remembers failed (the server is gone); it is told what follows") == 1


def test_the_runs_own_are_told_first():
    """Others read what these have written."""
    order = []
    trackers = [Remembers(), Remembers()]
    for name, tracker in zip(("other", "own"), trackers, strict=True):
        tracker.start = lambda *told, name=name: order.append(name)
    Trackers(trackers[:1], own=trackers[1:]).start("dir", {}, 0)
    assert order == ["own", "other"]


def test_each_of_several_that_fail_is_warned_of_and_one_tracker_more_is_told_all_the_same(capsys):
    owns, others = ([Remembers(fails_in="scalars") for _ in range(2)] for _ in range(2))
    sound = Remembers()
    trackers = Trackers([*others, sound], own=owns)
    tell_everything(trackers)
    trackers.scalars(7, {})
    assert sound.told == [*EVERYTHING, ("scalars", 7, {})]
    said = capsys.readouterr().err
    assert (said.count("it is told what follows all the same"), said.count("goes on without it")) == (2, 2)


def test_a_keyboard_interrupt_is_not_the_trackers():
    class Interrupted(Remembers):
        def scalars(self, *_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell_everything(Trackers([Interrupted()]))


def test_only_the_main_process_tells_anything(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    tracker = Remembers()
    tell_everything(Trackers([tracker]))
    assert tracker.told == []


@pytest.mark.slow
def test_the_local_trackers_import_no_other(tmp_path):
    code = (
        "import sys, mae_hydra.tracking as t; run = t.Trackers([t.LocalFiles()]); run.start(sys.argv[1], {}, 0);"
        "t.Wandb(project='p', entity=None, mode='online', group=None, job_type=None, name=None, tags=[], notes=None);"
        "print([m for m in sys.modules if m.split('.')[0] in ('wandb', 'tensorboard', 'matplotlib')])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, tmp_path]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "[]\n"
