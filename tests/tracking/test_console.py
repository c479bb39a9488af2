"""One line on a terminal, few lines in a file."""

import io
import logging

import pytest
from rich.console import Console as RichConsole

from mae_hydra.tracking import Console
from mae_hydra.tracking.console import _duration, _short
from mae_hydra.types import Evaluation

VALUES = {"train/loss": 0.71234, "train/lr": 1.5e-4, "perf/images_per_second": 812.3, "perf/memory_gb": 1.234}


def shown(terminal: bool, every_seconds: float, steps=range(10, 101, 10), start: int = 0) -> str:
    out = io.StringIO()
    rich = RichConsole(file=out, force_terminal=terminal, width=200)
    console = Console(total_steps=100, every_seconds=every_seconds, console=rich)
    console.start(None, {}, start)
    for step in steps:
        console.scalars(step, VALUES)
    console.evaluation(100, "segmentation", Evaluation({"mIoU": 31.523, "aAcc": 80.0}))
    console.finish("completed", {})
    return out.getvalue()


def test_a_file_gets_the_first_and_the_last_line_and_not_all_the_others():
    said = shown(terminal=False, every_seconds=1000.0).splitlines()
    assert [line.split(" · ")[0] for line in said] == [
        "step 10/100",
        "step 100/100",
        "step 100/100",
        "completed after 0:00",
    ]


def test_a_file_gets_a_line_again_when_the_time_has_passed():
    said = shown(terminal=False, every_seconds=0.0).splitlines()
    assert [line.split(" · ")[0] for line in said[:10]] == [f"step {step}/100" for step in range(10, 101, 10)]


def test_a_line_says_what_one_wants_to_know():
    line = shown(terminal=False, every_seconds=1000.0).splitlines()[0]
    assert line == "step 10/100 · loss 0.7123 · lr 1.50e-04 · 812.3 img/s · 1.23 GB · 0:00 left"


def test_results_of_an_evaluation_are_one_line():
    assert "step 100/100 · segmentation: mIoU 31.52 · aAcc 80.00\n" in shown(terminal=False, every_seconds=1000.0)


def test_a_line_that_a_terminal_has_no_room_for_is_broken_between_its_parts():
    out = io.StringIO()
    console = Console(total_steps=12, console=RichConsole(file=out, force_terminal=True, width=60))
    console.start(None, {}, 0)
    console.evaluation(12, "validation", Evaluation({"mIoU": 8.281, "mAcc": 17.37, "aAcc": 27.61, "mDice": 12.44}))
    console.finish("completed", {})
    assert "step 12/12 · validation: mIoU 8.281 · mAcc 17.37\n  aAcc 27.61 · mDice 12.44\n" in out.getvalue()


def test_values_that_are_not_there_are_left_out():
    out = io.StringIO()
    console = Console(total_steps=10, console=RichConsole(file=out, width=200))
    console.start(None, {}, 0)
    console.scalars(10, {"train/loss": float("nan"), "train/lr": 0.0, "perf/memory_gb": 0.0, "train/other": 1.0})
    assert out.getvalue() == "step 10/10 · loss nan · lr 0.00e+00 · 0.00 GB · 0:00 left\n"


def test_a_terminal_gets_one_living_line_and_keeps_the_results():
    said = shown(terminal=True, every_seconds=1000.0)
    assert "\x1b[2K" in said  # the line is erased and drawn again
    assert said.count("\n") < 10
    for text in ("step  50/100", "812.3 img/s", "mIoU 31.52", "completed after"):
        assert text in said


def test_what_is_said_for_good_is_in_the_log_too(caplog):
    with caplog.at_level(logging.INFO, logger="mae_hydra"):
        shown(terminal=True, every_seconds=1000.0)
    assert [record.message.split(" · ")[-1] for record in caplog.records] == ["aAcc 80.00", "completed after 0:00"]


@pytest.mark.parametrize(("start", "step", "left"), [(0, 25, "3:00"), (50, 75, "1:00"), (0, 1, "1:39:00")])
def test_the_time_left_follows_the_pace_of_this_process(monkeypatch, start, step, left):
    """A minute since the start; what an earlier process did says nothing about the pace."""
    now = iter([1000.0, 1060.0])
    monkeypatch.setattr("mae_hydra.tracking.console.time.monotonic", lambda: next(now, 1060.0))
    assert f"{left} left" in shown(terminal=False, every_seconds=0.0, steps=[step], start=start)


def test_the_line_of_a_step_that_an_earlier_process_took_knows_no_pace():
    line = shown(terminal=False, every_seconds=1000.0, steps=[50], start=50).splitlines()[0]
    assert line == "step 50/100 · loss 0.7123 · lr 1.50e-04 · 812.3 img/s · 1.23 GB"


def test_the_living_line_is_as_wide_as_the_one_before() -> None:
    out = io.StringIO()
    console = Console(total_steps=20000, console=RichConsole(file=out, force_terminal=True, width=200))
    console.start(None, {}, 0)
    widths = set()
    for step, loss, rate in ((1, 6.0, 9.87), (990, 0.71239, 812.34), (20000, 12.3, 4096.0)):
        console.scalars(step, VALUES | {"train/loss": loss, "perf/images_per_second": rate})
        line = out.getvalue().rpartition("step ")[2].rpartition(" · ")[0]
        widths.add(len(line))
    assert len(widths) == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_an_evaluation_says_how_far_it_is(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(
        total_steps=10, every_seconds=0.0, console=RichConsole(file=out, force_terminal=terminal, width=200)
    )
    console.start(None, {}, 0)
    batches = [[1, 2], [3, 4], [5]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mae_hydra.tracking.console.REDRAWN", 0.0)
        assert list(console.watched("validation")(batches, 5)) == batches
    console.finish("completed", {})
    for text in ("validation: 2/5 images", "validation: 4/5 images", "validation: 5/5 images"):
        assert text in out.getvalue()


@pytest.mark.parametrize(("width", "bar"), [(110, True), (109, False)])
def test_a_run_that_goes_on_begins_its_bar_where_it_is_and_an_evaluation_takes_its_own_away(
    monkeypatch, width, bar
) -> None:
    monkeypatch.setattr("mae_hydra.tracking.console.REDRAWN", 0.0)
    out = io.StringIO()
    console = Console(total_steps=100, console=RichConsole(file=out, force_terminal=True, width=width))
    console.start(None, {}, 50)
    assert ("━" in out.getvalue()) is bar
    assert "step  50/100" in out.getvalue()
    progress = console._progress
    assert progress is not None
    assert [(task.completed, task.total) for task in progress.tasks] == [(50, 100)]
    watching = console.watched("validation")([[1, 2], [3]], 3)
    next(watching)
    assert [(task.completed, task.total) for task in progress.tasks] == [(50, 100), (0, 3)]
    console.scalars(60, {})
    next(watching)
    assert [(task.completed, task.total) for task in progress.tasks] == [(60, 100), (2, 3)]
    watching.close()  # an evaluation that ends in an error, too
    assert [task.total for task in progress.tasks] == [100]
    console.finish("completed", {})


def test_a_file_is_told_of_an_evaluation_as_seldom_as_of_steps(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mae_hydra.tracking.console.time.monotonic", lambda: now[0])
    out = io.StringIO()
    console = Console(total_steps=10, console=RichConsole(file=out, width=200))  # every 15 seconds
    console.start(None, {}, 0)
    for _ in console.watched("validation")([[1, 2]] * 10, 20):
        now[0] += 4.0
    console.scalars(3, {})
    now[0] += 3605.0
    console.finish("interrupted", {})
    assert out.getvalue().splitlines() == [
        "validation: 8/20 images", "validation: 16/20 images", "step 3/10 · 1:33 left", "stopped after 1:00:45"
    ]  # fmt: skip


def test_what_is_said_is_rounded_to_four_digits_and_seconds_have_two() -> None:
    assert [_short(value) for value in (12345.6, 1.0, 0.00123456)] == ["1.235e+04", "1.000", "0.001235"]
    assert [_duration(seconds) for seconds in (0.4, 59.6, 3599, 3600)] == ["0:00", "1:00", "59:59", "1:00:00"]
