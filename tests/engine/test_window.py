"""What the log says of the steps since its last line."""

import math

import torch

from mae_hydra.engine.log_window import StepResult, Window
from mae_hydra.engine.state import State


def step(loss: float, count: float, norm: float) -> StepResult:
    total, counted, length = torch.tensor([loss, count, norm], dtype=torch.float64)
    return StepResult({"loss": total, "pixels": 2 * counted}, counted, length, [])


def test_losses_are_per_counted_element_and_norms_per_step():
    window = Window()
    window.add(step(6.0, 3.0, 1.0))
    window.add(step(4.0, 1.0, 2.0))
    assert window.read() == {"loss": 2.5, "pixels": 2.0, "grad_norm": 1.5}
    window.add(step(1.0, 1.0, 4.0))
    assert window.read() == {"loss": 1.0, "pixels": 2.0, "grad_norm": 4.0}  # nothing is left of the former line


def test_a_skipped_step_is_counted_and_its_norm_is_left_out():
    for spoilt in (math.nan, math.inf):
        window = Window()
        for norm in (1.0, spoilt, 3.0):
            window.add(step(2.0, 1.0, norm))
        assert window.read() == {"loss": 2.0, "pixels": 2.0, "grad_norm": 2.0, "nonfinite_steps": 1.0}


def test_evaluations_see_the_main_processes_statistics(monkeypatch):
    """On the CPU each process has its own running mean and variance; one of them must be what all evaluate."""
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))

    def as_the_main_process_has_it(buffers):
        for values in buffers:
            values.fill_(7)

    monkeypatch.setattr("mae_hydra.engine.state.broadcast", as_the_main_process_has_it)
    state = State(model, torch.optim.SGD(model.parameters(), lr=1.0), torch.amp.GradScaler("cpu", enabled=False))
    with state.for_evaluation() as evaluated:
        assert evaluated[1].running_mean.tolist() == evaluated[1].running_var.tolist() == [7, 7]
        assert not evaluated.training
    assert model.training
