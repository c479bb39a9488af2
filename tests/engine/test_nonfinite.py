"""Steps without a finite gradient: written down, survived, and ended with advice where they do not end."""

import json

import pytest
import torch
from tiny_training import Run, TinyEvaluator, settings, stop_at

from mae_hydra.engine import Interrupted
from mae_hydra.engine.log_window import StepResult
from mae_hydra.engine.skipped_steps import SkippedSteps
from mae_hydra.errors import UserError
from mae_hydra.types import Evaluation, Loss


class Poisoned(Run):
    """A run whose loss is infinite in `steps_lost`, counted from one."""

    steps_lost: frozenset[int] = frozenset()

    def __call__(self) -> dict[str, float]:
        self.at = self._poison
        return super().__call__()

    def _poison(self, step: int) -> None:
        if not hasattr(self.state.model, "plain_loss"):
            self.state.model.plain_loss = self.state.model.loss
        plain, lost = self.state.model.plain_loss, step + 1 in self.steps_lost

        def loss(batch):
            found = plain(batch)
            return Loss(found.total * float("inf"), found.count, found.extras) if lost else found

        self.state.model.loss = loss


def lines(run) -> list[dict]:
    return [json.loads(line) for line in (run.run_dir / "nonfinite.jsonl").read_text().splitlines()]


def test_a_skipped_step_is_written_down_with_its_images_and_training_goes_on(tmp_path):
    run = Poisoned(tmp_path, evaluators={})
    run.steps_lost = frozenset({3, 7})
    run()
    assert lines(run) == [{"step": step, "images": list(range(8))} for step in (3, 7)]
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert sum(line.get("train/nonfinite_steps", 0) for line in logged) == 2
    assert all(parameter.isfinite().all() for parameter in run.state.model.parameters())


def test_what_was_skipped_is_written_down_before_the_state_is_saved(tmp_path):
    """Whoever stops a run, or loses it, finds the images of every step that a checkpoint has behind it."""
    run = Poisoned(tmp_path, evaluators={}, within=stop_at(4), settings=settings(nonfinite_limit=50))
    run.steps_lost = frozenset({3})
    with pytest.raises(Interrupted):
        run()
    assert lines(run) == [{"step": 3, "images": list(range(8))}]


def test_neither_running_statistics_nor_the_average_take_in_what_was_skipped(tmp_path):
    class Spoiled(Poisoned):
        """The maps themselves are not a number, so that batch normalisation sees it too."""

        def _poison(self, step: int) -> None:
            with torch.no_grad():
                if step == 3:
                    self.kept = self.state.model.features.bias.clone()
                    self.state.model.features.bias.fill_(float("nan"))
                elif step == 4:
                    self.state.model.features.bias.copy_(self.kept)
                    self.average = {n: v.clone() for n, v in self.state.average.module.named_buffers()}

    run = Spoiled(tmp_path, micro_batch=8, evaluators={}, settings=settings(ema_decay=0.5))
    run()
    assert lines(run) == [{"step": 4, "images": list(range(8))}]
    assert all(value.isfinite().all() for value in run.average.values())
    assert all(value.isfinite().all() for value in run.state.model.buffers())


def test_a_few_in_a_row_end_the_run_with_advice_and_its_finite_weights_saved(tmp_path):
    run = Poisoned(tmp_path, steps=40, evaluators={}, every=None, settings=settings(nonfinite_limit=5))
    run.steps_lost = frozenset({2, *range(6, 41)})
    with pytest.raises(UserError, match=r"not finite in 5 steps in a row, up to step 10; .*nonfinite.jsonl names"):
        run()
    assert [line["step"] for line in lines(run)] == [2, 6, 7, 8, 9, 10]
    saved = torch.load(run.checkpoints.last_path, weights_only=True)["model"]
    assert all(value.isfinite().all() for value in saved.values())


def test_steps_that_come_and_go_never_end_a_run(tmp_path):
    run = Poisoned(tmp_path, steps=30, evaluators={}, settings=settings(nonfinite_limit=3))
    run.steps_lost = frozenset(step for step in range(1, 31) if step % 3)
    run()
    assert len(lines(run)) == 20


class Unlabelled(Run):
    """A run whose labels are all ignored in `steps_without`, counted from one; `divisor` as a model may choose it."""

    steps_without: frozenset[int] = frozenset()
    divisor = "valid"

    def __call__(self) -> dict[str, float]:
        self.at = self._empty
        return super().__call__()

    def _empty(self, step: int) -> None:
        if not hasattr(self.state.model, "plain_loss"):
            self.state.model.plain_loss = self.state.model.loss
        plain, without = self.state.model.plain_loss, step + 1 in self.steps_without

        def loss(batch):
            found = plain(batch)
            if not without:
                return found
            count = found.count * 0 if self.divisor == "valid" else found.count
            return Loss(found.total * 0, count, {name: value * 0 for name, value in found.extras.items()})

        self.state.model.loss = loss


@pytest.mark.parametrize("divisor", ["valid", "all"])
def test_a_window_of_the_log_in_which_nothing_was_labelled_ends_the_run_with_its_weights_saved(tmp_path, divisor):
    run = Unlabelled(tmp_path, steps=40, evaluators={}, every=None, settings=settings(log_every=5))
    run.divisor, run.steps_without = divisor, frozenset(range(11, 41))
    with pytest.raises(
        UserError, match=r"nothing counted in the loss of 5 steps up to step 15: every label was .*check"
    ):
        run()
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1]["train/uncounted_steps"] == 5
    assert "train/loss" not in logged[-1]
    assert torch.load(run.checkpoints.last_path, weights_only=True)["step"] == 15


def test_a_run_in_which_nothing_was_ever_labelled_does_not_complete(tmp_path):
    run = Unlabelled(tmp_path, steps=4, evaluators={}, settings=settings(log_every=1))
    run.steps_without = frozenset(range(1, 5))
    with pytest.raises(
        UserError, match="nothing counted in the loss of any of 4 steps: every label was the ignored one"
    ):
        run()


@pytest.mark.parametrize(("log_every", "most"), [(1, 10), (4, 10), (5, 4), (50, 49)])
def test_how_many_steps_without_a_label_are_too_many_follows_from_the_log(tmp_path, log_every, most):
    """The first line is of one step, the second of one fewer than the others."""
    steps = SkippedSteps(tmp_path, 5, log_every)
    steps.counted(1, {"train/uncounted_steps": most - 1.0})
    steps.counted(2, {"train/loss": 1.0})  # what counts in between begins anew
    steps.counted(3, {"train/uncounted_steps": most - 1.0})
    with pytest.raises(UserError, match=rf"nothing counted in the loss of {most} steps up to step 4"):
        steps.counted(4, {"train/uncounted_steps": 1.0})


def test_every_process_writes_down_the_images_of_its_own(tmp_path, monkeypatch):
    for rank, name in (("0", "nonfinite.jsonl"), ("2", "nonfinite.rank2.jsonl")):
        monkeypatch.setenv("RANK", rank)
        steps = SkippedSteps(tmp_path, 3, 5)
        images = [torch.tensor([4, 2]), None, torch.tensor([7])]
        for step, norm in ((1, 1.0), (2, float("inf"))):
            steps.add(step, StepResult({}, torch.tensor(1.0), torch.tensor(norm), images))
        assert not (tmp_path / name).exists()  # it is looked at once in three steps, or when something is saved
        steps.end({}, "val/loss")
        assert (tmp_path / name).read_text() == '{"step": 2, "images": [4, 2, 7]}\n'
        lost = StepResult({}, torch.tensor(1.0), torch.tensor(float("nan")), [])
        steps.add(3, lost)
        steps.read()
        steps.add(4, lost)
        with pytest.raises(UserError, match="in 3 steps in a row, up to step 4"):
            steps.read()
        again = SkippedSteps(tmp_path, 3, 5)  # of a run that goes on
        again.add(5, lost)
        again.read()
        told = [json.loads(line)["step"] for line in (tmp_path / name).read_text().splitlines()]
        assert told == [2, 3, 4, 5]


def test_single_steps_without_a_label_are_left_out_of_the_loss_and_end_nothing(tmp_path):
    run = Unlabelled(tmp_path, steps=20, evaluators={}, settings=settings(log_every=1))
    run.steps_without = frozenset(step for step in range(1, 21) if step % 4)
    found = run()
    assert found["train/loss"] > 0
    last = Unlabelled(tmp_path / "last", steps=20, evaluators={}, settings=settings(log_every=1))
    last.steps_without = frozenset({20})
    assert last()["train/loss"] > 0  # of the step before: one step without a label is no result of a run


def test_a_run_that_ends_with_a_loss_that_is_not_a_number_does_not_complete(tmp_path):
    run = Poisoned(tmp_path, steps=4, evaluators={})
    run.steps_lost = frozenset({1, 2, 3, 4})
    with pytest.raises(UserError, match=r"the run ends with train/loss = nan, which is no result"):
        run()
    again = Run(tmp_path, steps=4, evaluators={})
    with pytest.raises(UserError, match=r"the run ends with train/loss = nan"):  # nor when it is started again
        again()


def test_steps_that_are_not_finite_are_left_out_of_the_loss_that_is_logged(tmp_path):
    run = Poisoned(tmp_path, steps=6, evaluators={}, settings=settings(log_every=6))
    run.steps_lost = frozenset({4})
    whole = Run(tmp_path / "whole", steps=6, evaluators={}, settings=settings(log_every=6))
    assert run()["train/loss"] == pytest.approx(whole()["train/loss"], rel=0.2)


def test_a_run_whose_monitored_score_is_not_a_number_does_not_complete(tmp_path):
    class Nothing(TinyEvaluator):
        def run(self, model, step):
            return Evaluation({"loss": float("nan")})

    run = Run(tmp_path, steps=4, evaluators={"tiny": Nothing(4)})
    with pytest.raises(UserError, match=r"the run ends with val/loss = nan"):
        run()
