"""What training changes, and nothing else: the state that a checkpoint holds."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mae_hydra.engine.window import Window


@dataclass
class State:
    """`model` is the plain module, never its wrapped form, so that its keys stay plain.

    `step`: finished optimizer steps. `evaluated`: the step up to which evaluations are done (less than `step` only
    where a run was left before an evaluation was done). `metrics`: the latest value of every scalar that was logged.
    `average`: the exponential moving average of the model, which is evaluated in its place; None where none is kept.
    `whole`: False while an update is under way, when an error leaves half a step; then it must not be saved.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None = None
    step: int = 0
    evaluated: int = 0
    window: Window = field(default_factory=Window)
    metrics: dict[str, float] = field(default_factory=dict)
    whole: bool = True

    @property
    def evaluated_model(self) -> nn.Module:
        return self.model if self.average is None else self.average.module


def moving_average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """average <- decay * average + (1 - decay) * model, of parameters and buffers; None where `decay` is."""
    if decay is None:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return average.requires_grad_(False).eval()
