"""The loop: exact resume, evaluations that leave no trace, and what the tracker is told."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_training
import torch
from raising import raising
from tiny_training import Remembers, Run, TinyEvaluator, TinySchedule, settings, stop_at

from mae_hydra.engine import Checkpoints, Interrupted, wrap
from mae_hydra.engine.interrupt import Interruption
from mae_hydra.engine.stopwatch import Stopwatch
from mae_hydra.errors import UserError
from mae_hydra.seeds import seed_device


def last(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)


def metrics(run_dir: Path) -> list[dict]:
    """The lines of metrics.jsonl without what a clock says."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("perf/")} for line in lines]


def assert_same(ours, theirs, where: str = "") -> None:
    """Equal in every bit: tensors, numbers, structure; except for what a clock says."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            if not str(key).startswith("perf/"):
                assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), where
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype, where
        assert torch.equal(ours, theirs), where
    else:
        assert ours == theirs, where


def spoil_global_randomness() -> None:
    torch.manual_seed(999)
    torch.rand(17)
    np.random.seed(999)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("unbroken")
    Run(run_dir)()
    return run_dir


def assert_equals_unbroken(run_dir: Path, unbroken: Path) -> None:
    assert_same(last(run_dir), last(unbroken))
    assert metrics(run_dir) == metrics(unbroken)
    assert_same(
        torch.load(run_dir / "checkpoints" / "best.pt", weights_only=True),
        torch.load(unbroken / "checkpoints" / "best.pt", weights_only=True),
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_run_of_12_equals_5_and_a_checkpoint_and_7(tmp_path, unbroken, number):
    """In every bit, with dropout, batch norm, accumulation, evaluations; the stop is in the middle of a log window."""
    with pytest.raises(Interrupted, match="interrupted after step 5, state saved") as stopped:
        Run(tmp_path, at=stop_at(4, number), every=None)()
    assert (stopped.value.step, stopped.value.signal) == (5, number)
    assert last(tmp_path)["step"] == 5
    spoil_global_randomness()
    Run(tmp_path, every=None)()
    assert_equals_unbroken(tmp_path, unbroken)


def test_the_unbroken_run_has_something_to_compare(unbroken):
    lines = metrics(unbroken)
    assert [line["step"] for line in lines] == [1, 3, 4, 6, 8, 9, 12]
    seed_device(7, "evaluate", "tiny", 3, 0)
    assert lines[1]["val/noise"] == torch.rand(()).item()  # drawn from the seed of the run, and of the step
    assert lines[-1].keys() >= {"train/loss", "train/doubled", "train/grad_norm", "val/loss", "epoch", "images"}
    state = last(unbroken)
    assert (state["step"], state["evaluated"], state["window"]) == (12, 12, {})
    assert state["config"] == {"seed": 7}
    assert state["meta"] == {"class_names": ["a", "b", "c"]}
    assert set(state["model"]) == {
        "features.weight", "features.bias", "classify.weight", "classify.bias",
        "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked",
    }  # fmt: skip


class Killed(BaseException):
    """As by SIGKILL: nobody saves anything."""


def fail_at(wanted: int, error: BaseException):
    def at(step: int) -> None:
        if step == wanted:
            raise error

    return at


def test_a_run_that_died_goes_on_from_its_checkpoint_and_logs_each_step_once(tmp_path, unbroken):
    with pytest.raises(Killed):
        Run(tmp_path, at=fail_at(8, Killed()))()
    assert last(tmp_path)["step"] < max(line["step"] for line in metrics(tmp_path)) == 8
    spoil_global_randomness()
    Run(tmp_path)()
    assert_equals_unbroken(tmp_path, unbroken)


UNREADABLE = UserError("n01440764_18.JPEG is damaged")


def fails_in(place: str, run_dir: Path) -> Run:
    """A run that saves at its end only, and fails in its eighth step or in the evaluation after its sixth."""
    run = Run(run_dir, every=None)
    if place == "first micro-batch":
        run.at = fail_at(7, UNREADABLE)
    elif place == "second micro-batch":
        run.within = fail_at(7, UNREADABLE)
    elif place == "forward pass":  # behind batch norm, whose running statistics have moved
        fail = fail_at(7, RuntimeError("CUDA out of memory"))
        run.within = lambda step: run.state.model.classify.register_forward_hook(lambda *_: fail(step))
    else:
        run.evaluators = {"tiny": TinyEvaluator(3, at=fail_at(6, UNREADABLE))}
    return run


@pytest.mark.parametrize("place", ["first micro-batch", "second micro-batch", "forward pass", "evaluation"])
def test_an_error_goes_on_with_the_finished_steps_saved(tmp_path, unbroken, place):
    with pytest.raises((UserError, RuntimeError), match=r"is damaged|out of memory"):
        fails_in(place, tmp_path)()
    assert last(tmp_path)["step"] == (6 if place == "evaluation" else 7)
    spoil_global_randomness()
    Run(tmp_path, every=None)()
    assert_equals_unbroken(tmp_path, unbroken)


def test_half_an_update_is_not_saved(tmp_path, unbroken):
    run = Run(tmp_path)

    def spoil_the_update(step: int) -> None:
        def half() -> None:
            run.state.model.features.weight.data.zero_()
            raise RuntimeError("device lost")

        if step == 7:
            run.state.optimizer.step = half

    run.at = spoil_the_update
    with pytest.raises(RuntimeError, match="device lost"):
        run()
    assert last(tmp_path)["step"] == 6  # of the best evaluation so far
    Run(tmp_path)()
    assert_equals_unbroken(tmp_path, unbroken)


def test_an_error_before_any_step_is_finished_leaves_no_checkpoint(tmp_path):
    """It would bind the next start to the configuration of this one."""
    with pytest.raises(UserError, match="is damaged"):
        Run(tmp_path, within=fail_at(0, UNREADABLE))()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("step", [6, 12])
@pytest.mark.parametrize("signal_comes", ["before", "within"])
def test_all_that_is_said_of_a_step_is_said_by_one_start(tmp_path, step, signal_comes):
    """W&B drops what a resumed run says of a step that the interrupted one has said something of."""
    logged, first, second = settings(log_every=3), Remembers(), Remembers()
    evaluator = TinyEvaluator(3, at=stop_at(step if signal_comes == "within" else -1))
    run = Run(tmp_path, evaluators={"tiny": evaluator}, settings=logged, tracker=first)
    run.at = stop_at(step - 1 if signal_comes == "before" else -1)
    with pytest.raises(Interrupted, match=f"after step {step}"):
        run()
    Run(tmp_path, settings=logged, tracker=second)()
    said = [
        [(what[0], what[1]) for what in part.told if what[0] in ("scalars", "evaluation")] for part in (first, second)
    ]
    assert max(s for _, s in said[0]) < step == min(s for _, s in said[1])
    assert (first.told[0], second.told[0]) == (("start", 0), ("start", step))
    assert said[0] + said[1] == [
        ("scalars", 1),
        *((kind, s) for s in (3, 6, 9, 12) for kind in ("scalars", "evaluation")),
    ]
    late = next(what[2] for what in second.told if what[0] == "scalars")
    assert not {"perf/images_per_second", "perf/data_wait"} & late.keys()  # nobody took its time


@pytest.mark.parametrize("step", [6, 12])
def test_an_evaluation_that_is_interrupted_is_left_at_once_and_made_up_for(tmp_path, unbroken, step):
    evaluator = TinyEvaluator(3, at=stop_at(step))
    with pytest.raises(Interrupted, match=f"after step {step}"):
        Run(tmp_path, evaluators={"tiny": evaluator})()
    assert (last(tmp_path)["step"], last(tmp_path)["evaluated"]) == (step, step - 1)
    spoil_global_randomness()
    Run(tmp_path)()
    assert_equals_unbroken(tmp_path, unbroken)


def test_a_signal_before_an_evaluation_leaves_it_to_the_next_start(tmp_path, unbroken):
    evaluator = TinyEvaluator(3)
    with pytest.raises(Interrupted, match="after step 6"):
        Run(tmp_path, at=stop_at(5), evaluators={"tiny": evaluator})()
    assert [step for step, *_ in evaluator.seen] == [3]
    Run(tmp_path)()
    assert_equals_unbroken(tmp_path, unbroken)


def test_evaluations_leave_no_trace_in_the_training(tmp_path, unbroken):
    Run(tmp_path, evaluators={"tiny": TinyEvaluator(1)})()
    assert_same(last(tmp_path)["model"], last(unbroken)["model"])
    assert_same(last(tmp_path)["optimizer"], last(unbroken)["optimizer"])


def test_evaluators_see_a_model_in_eval_mode_without_gradients_when_due_and_at_the_end(tmp_path):
    rarely, often = TinyEvaluator(100), TinyEvaluator(5)
    often.run = lambda model, step, run=often.run: run(model, step)._replace(scalars={"other": 1.0})
    run = Run(tmp_path, evaluators={"rarely": rarely, "often": often}, tracker=Remembers())
    results = run()
    told = [(step, *name) for kind, step, *name in run.tracker.told if kind == "evaluation"]
    assert told == [(5, "often"), (10, "often"), (12, "rarely"), (12, "often")]
    assert rarely.seen == [(12, False, False)]
    assert often.seen == [(5, False, False), (10, False, False), (12, False, False)]
    assert run.state.model.training
    assert results["val/other"] == 1.0
    assert results == run.state.metrics


def test_an_evaluator_that_is_never_due_never_runs(tmp_path):
    """Not even at the end: when it is due is for the evaluator to say."""
    never = TinyEvaluator(1)
    never.due = lambda step, total_steps: False
    results = Run(tmp_path, evaluators={"never": never})()
    assert never.seen == []
    assert last(tmp_path)["step"] == last(tmp_path)["evaluated"] == 12
    assert not [name for name in results if name.startswith("val/")]


def pretend_a_device(monkeypatch: pytest.MonkeyPatch, waits: Callable[[str], None]) -> None:
    """`waits` is called with the name of whatever would let the host wait for a CUDA device."""

    def counted(name: str):
        original = getattr(torch.Tensor, name)

        def call(*arguments, **options):
            waits(name)
            return original(*arguments, **options)

        return call

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waits("synchronize"))
    monkeypatch.setattr("mae_hydra.engine.loop.Stopwatch", lambda device: Stopwatch(torch.device("cuda")))


def test_training_waits_for_the_device_only_where_something_is_due(tmp_path, monkeypatch):
    """To read the log's numbers, to evaluate, to save: not within a step, and not between two either."""
    waits: dict[int, list[str]] = {0: []}
    pretend_a_device(monkeypatch, lambda name: waits[max(waits)].append(name))
    run = Run(tmp_path, every=10, evaluators={"tiny": TinyEvaluator(7)}, settings=settings(log_every=5, clip_grad=1.0))
    run.at = lambda step: waits.update({step + 1: []})
    run()
    assert [step for step, names in waits.items() if names and step] == [1, 5, 7, 10, 12]
    assert [step for step, names in waits.items() if "synchronize" in names] == [7, 10, 12]  # evaluations, saves


def test_two_evaluators_may_not_report_the_same_scalar(tmp_path):
    with pytest.raises(UserError, match="evaluator b reports val/loss, val/noise, and so does another"):
        Run(tmp_path, evaluators={"a": TinyEvaluator(1), "b": TinyEvaluator(1)})()


def test_a_finished_run_started_again_trains_nothing_and_returns_its_results(tmp_path):
    results = Run(tmp_path)()
    again = Run(tmp_path, at=lambda step: pytest.fail("trained"))
    assert again() == results
    assert again.state.step == 12


def test_the_learning_rate_is_the_factor_times_each_groups_own(tmp_path):
    seen = []
    run = Run(tmp_path, evaluators={}, settings=settings(log_every=1), tracker=Remembers())
    run.at = lambda step: seen.append([group["lr"] for group in run.state.optimizer.param_groups])
    run()
    factors = [TinySchedule(12).factor(step) for step in range(12)]
    assert seen == [[1e-2 * factor, 5e-3 * factor] for factor in factors]
    logged = [told[2]["train/lr"] for told in run.tracker.told if told[0] == "scalars"]
    assert logged == [1e-2 * factor for factor in factors]


def test_the_log_has_means_over_the_steps_since_the_last_line(tmp_path):
    every, fourth = Remembers(), Remembers()
    Run(tmp_path / "1", evaluators={}, settings=settings(log_every=1), tracker=every)()
    Run(tmp_path / "4", evaluators={}, settings=settings(log_every=4), tracker=fourth)()
    single = [told[2] for told in every.told if told[0] == "scalars"]
    means = [told[1:] for told in fourth.told if told[0] == "scalars"]
    assert [step for step, _ in means] == [1, 4, 8, 12]
    for before, (step, values) in zip([0, 1, 4, 8], means, strict=True):
        window = single[before:step]
        for name in ("train/loss", "train/doubled", "train/grad_norm"):  # every step counts equally many pixels here
            assert values[name] == pytest.approx(np.mean([line[name] for line in window]), rel=1e-6)
        assert values["images"] == 8 * step
        assert values["epoch"] == step / 4
        assert values["perf/images_per_second"] > 0
        assert 0 <= values["perf/data_wait"] <= 1
        assert 0.05 < values["perf/memory_gb"] < 64


@pytest.mark.parametrize(
    ("at", "error", "ending"),
    [
        (lambda step: None, None, "completed"),
        (stop_at(2), Interrupted, "interrupted"),
        (lambda step: 1 / 0, ZeroDivisionError, "failed"),
        (raising(KeyboardInterrupt()), KeyboardInterrupt, "interrupted"),
    ],
)
def test_the_tracker_hears_how_a_run_ends(tmp_path, monkeypatch, at, error, ending):
    run = Run(tmp_path, at=at, tracker=Remembers())
    monkeypatch.setattr(Checkpoints, "close", lambda kept: run.tracker.told.append(("close",)))
    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert run.tracker.told[0] == ("start", 0)
    assert run.tracker.told[-2:] == [("close",), ("finish", ending)]  # whatever is under way is waited for
    assert [told[0] for told in run.tracker.told].count("finish") == 1


def test_speed_is_that_of_the_steps_since_its_last_line(tmp_path, monkeypatch):
    """Nor is the time before the first step in it."""
    told = []

    class Watched(Stopwatch):
        def read(self):
            told.append(self.images)
            return super().read()

    monkeypatch.setattr("mae_hydra.engine.loop.Stopwatch", Watched)
    Run(tmp_path, evaluators={}, at=lambda step: told.append(f"step {step}"), steps=5)()
    assert told == [0, "step 0", 8, "step 1", "step 2", "step 3", 24, "step 4", 8]


def test_processes_decide_together_where_the_log_waits_for_the_device_anyway(tmp_path, monkeypatch):
    asked = []

    class Asked(Interruption):
        def requested(self, device, *, together):
            asked.append(together)
            return super().requested(device, together=together)

    monkeypatch.setattr("mae_hydra.engine.loop.Interruption", Asked)
    Run(tmp_path, evaluators={}, settings=settings(log_every=3), steps=7)()
    assert asked == [False, False, True, False, False, True, False]


def test_after_an_error_the_main_process_alone_saves(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="is damaged"):
        Run(tmp_path, at=fail_at(7, UNREADABLE))()
    assert not (tmp_path / "checkpoints").exists()


def test_a_model_is_trained_in_training_mode_whatever_it_was_built_in(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_training, "wrap", lambda model, *more: wrap(model.eval(), *more))
    modes = []
    run = Run(tmp_path, evaluators={}, steps=1, at=lambda step: modes.append(run.state.model.training))
    run()
    assert modes == [True]


def test_what_loads_the_data_is_closed_whatever_ends_a_training(tmp_path, monkeypatch):
    closed, batches = [], tiny_training.TinyStream.batches

    def watched(stream, start):
        try:
            yield from batches(stream, start)
        finally:
            closed.append(start)

    monkeypatch.setattr(tiny_training.TinyStream, "batches", watched)
    run = Run(tmp_path, evaluators={"tiny": TinyEvaluator(1, at=fail_at(1, UNREADABLE))})
    with pytest.raises(UserError) as error:
        run()
    assert closed == [0]
    assert error.value is UNREADABLE
