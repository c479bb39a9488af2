"""What training changes, and nothing else: the state that a checkpoint holds."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mae_hydra.batch_norm import running_statistics
from mae_hydra.distributed import broadcast
from mae_hydra.engine.callbacks import Callbacks
from mae_hydra.engine.log_window import Window
from mae_hydra.engine.sharding import Twin, local_shard


@dataclass
class State:
    """`model` is the plain module, never its wrapped form, so that its keys stay plain.

    `step`: finished optimizer steps. `evaluated`: the step up to which evaluations are done (less than `step` only
    where a run was left before an evaluation was done). `metrics`: the latest value of every scalar that was logged.
    `average`: the exponential moving average of the model, which is evaluated in its place; None where none is kept.
    `twin`: stands in for a sharded model in evaluations; None where the model is whole.
    `whole`: False while an update is under way, when an error leaves half a step; then it must not be saved.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None = None
    twin: Twin | None = None
    step: int = 0
    evaluated: int = 0
    window: Window = field(default_factory=Window)
    metrics: dict[str, float] = field(default_factory=dict)
    callbacks: Callbacks = field(default_factory=Callbacks)
    whole: bool = True

    @contextmanager
    def for_evaluation(self) -> Iterator[nn.Module]:
        """What evaluations see, in evaluation mode: the average where there is one, and the same in every process."""
        model = self.model if self.average is None else self.average.module
        broadcast(running_statistics(model))  # where layers are not synchronised; the main process's are saved
        if self.twin is None:
            yield model.eval()
        else:
            with closing(self.twin):
                yield self.twin.filled(model).eval()
        self.model.train()

    def progress(self, steps_per_epoch: float, global_batch: int) -> dict[str, float]:
        """What the log says of the steps since its last line; reading it waits for the device."""
        groups = self.optimizer.param_groups
        values = {f"train/{name}": value for name, value in self.window.read().items()}
        values["train/lr"] = max(group["lr"] for group in groups)
        values |= {"epoch": self.step / steps_per_epoch, "images": self.step * global_batch}
        by_depth = {group["depth"]: group["lr"] for group in groups if group.get("depth") is not None}
        return values | {f"train/lr/depth_{depth:02}": rate for depth, rate in by_depth.items()}


def moving_average(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """average <- d * average + (1 - d) * model, of parameters and buffers; None where `decay` is.

    Whole numbers, a count of batches or an index into a table, are not averaged: they are the model's.
    After n updates before this one d = min(decay, (1 + n) / (10 + n)), TensorFlow's warm-up: with a constant decay of
    0.9999 the first weights would be 82 % of the average after 2000 steps. The first update, n = 0, is a copy.
    """
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=_of_own_shares(decay), use_buffers=True).requires_grad_(False).eval()


def _of_own_shares(decay: float) -> Any:
    """torch's update; it is made element by element, so each process makes it on its own share of sharded tensors."""

    def apply(averages: list[Tensor], values: list[Tensor], updates: Tensor | int) -> None:
        if not averages[0].is_floating_point():  # all of a call have one type
            torch._foreach_copy_(averages, values)  # torch's would cut 0.9 * 7 + 0.1 * 7 to 6
            return
        count = int(updates)  # torch has waited for it already, to see whether this is the first update
        update = get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))
        update([local_shard(tensor) for tensor in averages], [local_shard(tensor) for tensor in values], updates)

    return apply
