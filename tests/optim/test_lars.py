"""LARS against its formula, written out for single numbers."""

import copy
import math

import pytest
import torch
from torch import nn

from mae_hydra.optim import lars

SETTINGS = {
    "lr": None, "base_lr": 0.1, "global_batch": 16384, "momentum": 0.9, "trust": 1e-3, "weight_decay": 0.0,
    "layer_decay": 1.0, "decay_rule": "finetune",
}  # fmt: skip


class Tiny(nn.Module):
    num_depths = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[3.0, -4.0], [0.5, 2.0]]))
        self.bias = nn.Parameter(torch.tensor([1.0, -2.0]))

    def depth_of(self, name: str) -> int:
        return 0


def norm(rows):
    return math.sqrt(sum(value * value for row in rows for value in row))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_three_steps_are_those_of_the_formula(weight_decay):
    model = Tiny()
    optimizer = lars(model, **(SETTINGS | {"weight_decay": weight_decay}))
    lr = 0.1 * 16384 / 256
    assert [group["lr"] for group in optimizer.param_groups] == [lr, lr]
    weight, bias = [[3.0, -4.0], [0.5, 2.0]], [1.0, -2.0]
    moment_w, moment_b = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
    for step in range(3):
        gradient_w = [[0.1 * (step + 1), -0.2], [0.3, 0.05 * step]]
        gradient_b = [0.01, -0.02 * step]
        model.weight.grad, model.bias.grad = torch.tensor(gradient_w), torch.tensor(gradient_b)
        optimizer.step()
        direction = [
            [g + weight_decay * w for g, w in zip(*rows, strict=True)] for rows in zip(gradient_w, weight, strict=True)
        ]
        ratio = 1e-3 * norm(weight) / norm(direction)
        for i in range(2):
            for j in range(2):
                moment_w[i][j] = 0.9 * moment_w[i][j] + ratio * direction[i][j]
                weight[i][j] -= lr * moment_w[i][j]
            moment_b[i] = 0.9 * moment_b[i] + gradient_b[i]  # no decay, no trust ratio
            bias[i] -= lr * moment_b[i]
    torch.testing.assert_close(model.weight.data, torch.tensor(weight))
    torch.testing.assert_close(model.bias.data, torch.tensor(bias))


def test_a_weight_or_gradient_of_zero_is_no_division_by_zero():
    model = Tiny()
    nn.init.zeros_(model.weight)
    optimizer = lars(model, **SETTINGS)
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.zeros(2)
    optimizer.step()
    assert torch.equal(model.weight.data, torch.full((2, 2), -0.1 * 64))
    model.weight.grad = torch.zeros(2, 2)
    optimizer.step()
    assert model.weight.isfinite().all()


def test_a_lost_update_changes_neither_weights_nor_moments():
    model = Tiny()
    optimizer = lars(model, **SETTINGS)
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.ones(2)
    optimizer.step()
    before = [p.detach().clone() for p in model.parameters()]
    moments = [optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    model.weight.grad, model.bias.grad = torch.full((2, 2), torch.nan), torch.full((2,), torch.inf)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    del optimizer.found_inf
    assert all(map(torch.equal, before, model.parameters()))
    assert all(
        torch.equal(optimizer.state[p]["momentum_buffer"], m) for p, m in zip(model.parameters(), moments, strict=True)
    )
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.ones(2)
    optimizer.step()
    assert not torch.equal(before[0], model.weight)


def test_state_is_saved_and_loaded():
    first, second = Tiny(), Tiny()
    one, two = lars(first, **SETTINGS), lars(second, **SETTINGS)
    for model, optimizer in ((first, one),):
        model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.ones(2)
        optimizer.step()
    second.load_state_dict(first.state_dict())
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    for model, optimizer in ((first, one), (second, two)):
        model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.ones(2)
        optimizer.step()
    assert all(map(torch.equal, first.parameters(), second.parameters()))


@pytest.mark.parametrize(
    "wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"trust": 0.0}, {"lr": None, "base_lr": None}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|give one"):
        lars(Tiny(), **(SETTINGS | wrong))


def test_without_momentum_a_step_is_the_gradients_alone():
    model = Tiny()
    optimizer = lars(model, **(SETTINGS | {"momentum": 0.0, "lr": 0.5}))
    for _ in range(2):
        model.bias.grad = torch.tensor([1.0, 2.0])
        optimizer.step()
    assert model.bias.tolist() == [0.0, -4.0]
