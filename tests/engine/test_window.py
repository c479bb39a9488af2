"""What the log says of the steps since its last line."""

import math

import torch

from mae_hydra.engine.log_window import StepResult, Window
from mae_hydra.engine.state import State, moving_average


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


def test_a_step_in_which_nothing_counts_has_no_loss_and_one_at_zero_has():
    window = Window()
    for loss, count, norm in ((0.0, 0.0, 0.0), (0.0, 4.0, 0.0)):  # by the labeled pixels, and by all
        window.add(step(loss, count, norm))
    assert window.read() == {"uncounted_steps": 2.0, "grad_norm": 0.0}
    for loss, count, norm in ((0.0, 4.0, 2.0), (0.0, 0.0, 0.0)):  # a loss of zero that still has a gradient
        window.add(step(loss, count, norm))
    assert window.read() == {"loss": 0.0, "pixels": 2.0, "grad_norm": 1.0}


def test_a_loss_that_is_not_finite_is_left_out_with_its_pixels():
    window = Window()
    window.add(step(math.nan, 3.0, math.nan))
    window.add(step(4.0, 2.0, 1.0))
    assert window.read() == {"loss": 2.0, "pixels": 2.0, "grad_norm": 1.0, "nonfinite_steps": 1.0}
    window.add(step(math.inf, 3.0, math.inf))
    only = window.read()
    assert math.isnan(only["loss"])
    assert math.isnan(only["grad_norm"])
    assert only["nonfinite_steps"] == 1.0


def test_the_log_tells_the_place_of_a_run_and_the_rate_of_every_depth():
    layers = [torch.nn.Linear(1, 1) for _ in range(4)]
    groups = [{"params": layer.parameters(), "lr": lr, "depth": depth} for layer, lr, depth in
              zip(layers, (0.1, 0.4, 0.2, 0.3), (0, 12, None, 3), strict=True)]  # fmt: skip
    optimizer = torch.optim.SGD(groups, lr=1.0)
    state = State(layers[0], optimizer, torch.amp.GradScaler("cpu", enabled=False), step=6)
    state.window.add(step(6.0, 3.0, 1.0))
    assert state.progress(2.5, 8) == {
        "train/loss": 2.0, "train/pixels": 2.0, "train/grad_norm": 1.0, "train/lr": 0.4, "epoch": 2.4, "images": 48,
        "train/lr/depth_00": 0.1, "train/lr/depth_12": 0.4, "train/lr/depth_03": 0.3,
    }  # fmt: skip
    state.window.add(step(6.0, 3.0, 1.0))
    assert state.progress(0.5, 8)["epoch"] == 12.0  # a step of all images twice


def test_a_sharded_model_is_evaluated_by_its_twin_which_is_emptied_then():
    told = []

    class Twin:
        def filled(self, model):
            told.append(model)
            return torch.nn.Linear(1, 1)

        def close(self):
            told.append("closed")

    model, twin = torch.nn.Linear(2, 2), Twin()
    state = State(model, torch.optim.SGD(model.parameters(), lr=1.0), torch.amp.GradScaler("cpu", enabled=False))
    state.twin = twin  # type: ignore[assignment]
    with state.for_evaluation() as evaluated:
        assert (evaluated.in_features, evaluated.training, told) == (1, False, [model])
    assert (told, model.training) == ([model, "closed"], True)
    state.average = moving_average(model, 0.9)
    with state.for_evaluation():
        assert told[2:] == [state.average.module]


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
    state.average = moving_average(model, 0.9)
    model[1].running_mean.zero_()
    with state.for_evaluation() as evaluated:
        assert evaluated is state.average.module
        assert evaluated[1].running_mean.tolist() == [7, 7]
        assert model[1].running_mean.tolist() == [0, 0]
