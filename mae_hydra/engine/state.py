"""What training changes, and nothing else: the state that a checkpoint holds."""

from dataclasses import dataclass, field

import torch
from torch import nn

from mae_hydra.engine.window import Window


@dataclass
class State:
    """`model` is the plain module, never its wrapped form, so that its keys stay plain.

    `step`: finished optimizer steps. `evaluated`: the step up to which evaluations are done (less than `step` only
    where a run was left before an evaluation was done). `metrics`: the latest value of every scalar that was logged.
    `whole`: False while an update is under way, when an error leaves half a step; then it must not be saved.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    evaluated: int = 0
    window: Window = field(default_factory=Window)
    metrics: dict[str, float] = field(default_factory=dict)
    whole: bool = True
