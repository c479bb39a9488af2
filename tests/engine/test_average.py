"""The moving average of the weights: the formula, and that it is what is evaluated and goes on after a stop."""

import pytest
import torch
from tiny_training import Run, TinyEvaluator, settings, stop_at

import mae_hydra
from mae_hydra.engine import Interrupted, moving_average

DECAY = 0.8


class Weights(TinyEvaluator):
    """Keeps the weights it was given."""

    def run(self, model, step):
        self.given = {name: value.detach().clone() for name, value in model.state_dict().items()}
        return super().run(model, step)


def averaging(run_dir, **changes) -> Run:
    return Run(run_dir, evaluators={"tiny": Weights(100)}, every=1, settings=settings(ema_decay=DECAY), **changes)


def test_the_average_follows_its_formula_and_is_what_is_evaluated(tmp_path):
    history = []
    run = averaging(tmp_path, at=lambda step: history.append(weights_of(run)))
    run()
    history.append(weights_of(run))
    for name in ("features.weight", "norm.running_mean"):
        average = history[1][name]  # after the first step: a copy
        for updates, weights in enumerate(history[2:], start=1):
            decay = min(DECAY, (1 + updates) / (10 + updates))
            average = decay * average + (1 - decay) * weights[name]
        found = run.evaluators["tiny"].given[name]
        torch.testing.assert_close(found, average)
        assert not torch.allclose(found, history[-1][name])


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return {name: values.detach().clone() for name, values in run.state.model.state_dict().items()}


@pytest.mark.parametrize(("decay", "steps"), [(0.9999, 2000), (0.999, 300)])
def test_the_first_weights_are_soon_forgotten_and_the_decay_is_reached(decay, steps):
    """A constant decay of 0.9999 would leave 82 % of them after 2000 steps."""
    model = torch.nn.Linear(1, 1, bias=False)
    average = moving_average(model, decay)
    model.weight.data.fill_(1.0)
    average.update_parameters(model)
    model.weight.data.fill_(0.0)
    for _ in range(steps):
        average.update_parameters(model)
    assert average.module.weight.item() < 1e-6
    average.n_averaged.fill_(10**6)
    average.module.weight.data.fill_(1.0)
    average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(decay)


def test_the_average_resumes_bit_for_bit(tmp_path):
    whole = averaging(tmp_path / "whole")
    whole()
    broken = averaging(tmp_path / "broken", at=stop_at(5))
    with pytest.raises(Interrupted):
        broken()
    broken.at = lambda step: None
    broken()
    for name, value in whole.state.average.state_dict().items():
        assert torch.equal(value, broken.state.average.state_dict()[name]), name


@pytest.mark.parametrize("model", ["upernet_vitt", "mae_vitt", "classifier_vitt"])
def test_the_average_of_a_model_that_does_not_change_is_that_model(model):
    """Of every real model, with what no file holds: an index of relative positions must stay one."""
    model = mae_hydra.build(f"model={model}")
    average = moving_average(model, 0.9)
    for _ in range(100):
        average.update_parameters(model)
    for part in ("named_parameters", "named_buffers"):
        for (name, ours), (_, theirs) in zip(getattr(average.module, part)(), getattr(model, part)(), strict=True):
            assert torch.equal(ours, theirs), name
