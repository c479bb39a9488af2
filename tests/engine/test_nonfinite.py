"""Steps without a finite gradient: written down, survived, and ended with advice where they do not end."""

import json

import pytest
import torch
from tiny_training import Run, settings

from mae_hydra.errors import UserError
from mae_hydra.types import Loss


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
