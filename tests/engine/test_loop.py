"""The loop: exact resume, evaluations that leave no trace, and what the tracker is told."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import Remembers, Run, TinyEvaluator, TinySchedule, settings

from mae_hydra.engine import Interrupted


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


def stop_at(wanted: int, number: signal.Signals = signal.SIGTERM):
    """A signal, sent by the system to this very process, once."""
    sent = []

    def at(step: int) -> None:
        if step == wanted and not sent:
            sent.append(step)
            signal.raise_signal(number)

    return at


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
    with pytest.raises(Interrupted, match="interrupted after step 5, state saved"):
        Run(tmp_path, at=stop_at(4, number), every=None)()
    assert last(tmp_path)["step"] == 5
    spoil_global_randomness()
    Run(tmp_path, every=None)()
    assert_equals_unbroken(tmp_path, unbroken)


def test_the_unbroken_run_has_something_to_compare(unbroken):
    lines = metrics(unbroken)
    assert [line["step"] for line in lines] == [1, 3, 4, 6, 8, 9, 12]
    assert lines[-1].keys() >= {"train/loss", "train/doubled", "train/grad_norm", "val/loss", "epoch", "images"}
    state = last(unbroken)
    assert (state["step"], state["evaluated"], state["window"]) == (12, 12, {})
    assert state["config"] == {"seed": 7}
    assert state["meta"] == {"class_names": ["a", "b", "c"]}
    assert set(state["model"]) == {
        "features.weight", "features.bias", "classify.weight", "classify.bias",
        "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked",
    }  # fmt: skip


def test_a_run_that_died_goes_on_from_its_checkpoint_and_logs_each_step_once(tmp_path, unbroken):
    def die(step: int) -> None:
        if step == 8:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        Run(tmp_path, at=die)()
    assert last(tmp_path)["step"] < max(line["step"] for line in metrics(tmp_path)) == 8
    spoil_global_randomness()
    Run(tmp_path)()
    assert_equals_unbroken(tmp_path, unbroken)


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
    run = Run(tmp_path, evaluators={"rarely": rarely, "often": often})
    results = run()
    assert rarely.seen == [(12, False, False)]
    assert often.seen == [(5, False, False), (10, False, False), (12, False, False)]
    assert run.state.model.training
    assert results["val/other"] == 1.0
    assert results == run.state.metrics


def test_two_evaluators_may_not_report_the_same_scalar(tmp_path):
    with pytest.raises(ValueError, match="evaluator b reports val/loss, val/noise, and so does another"):
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
    ],
)
def test_the_tracker_hears_how_a_run_ends(tmp_path, at, error, ending):
    run = Run(tmp_path, at=at, tracker=Remembers())
    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert run.tracker.told[0] == ("start", 0)
    assert run.tracker.told[-1] == ("finish", ending)
    assert [told[0] for told in run.tracker.told].count("finish") == 1
