"""LARS (You et al., arXiv 1708.03888), in the form with which MAE's linear probe was trained (MoCo v3's).

For a tensor p of two or more dimensions with gradient g:  d = g + weight_decay * p;  d *= trust * |p| / |d|  where
neither norm is 0. A tensor of at most one dimension takes its gradient as it is: no decay, no trust ratio. Then
m = momentum * m + d  and  p -= lr * m.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mae_hydra.optim.groups import parameter_groups
from mae_hydra.optim.rates import base_rate


class LARS(torch.optim.Optimizer):
    """Groups as of `parameter_groups`. `trust`: the trust coefficient.

    An update of which `found_inf` (set by the engine, a tensor on the device) is 1 changes nothing, without waiting.
    """

    _step_supports_amp_scaling = True

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float, trust: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        lost: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, lost)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], lost: Tensor | None) -> None:
        direction: Tensor = parameter.grad  # type: ignore[assignment]
        if parameter.ndim > 1:
            direction = direction.add(parameter, alpha=group["weight_decay"])
            size, length = parameter.norm(), direction.norm()
            ratio = torch.where((size > 0) & (length > 0), group["trust"] * size / length, 1.0)
            direction = direction * ratio
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        moment: Tensor = state["momentum_buffer"]
        updated = moment * group["momentum"] + direction
        if lost is not None:
            updated = torch.where(lost.bool(), moment, updated)
        moment.copy_(updated)
        step = updated * group["lr"]
        parameter.sub_(step if lost is None else torch.where(lost.bool(), torch.zeros_like(step), step))


def lars(
    model: nn.Module,
    *,
    lr: float | None,
    base_lr: float | None,
    global_batch: int,
    momentum: float,
    trust: float,
    weight_decay: float,
    layer_decay: float,
    decay_rule: str,
) -> LARS:
    """Build LARS for what is trainable in `model`; the learning rate as of `adamw`."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
    if not trust > 0:
        raise ValueError(f"trust must be positive, got {trust}")
    lr = base_rate(lr, base_lr, global_batch)
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay, decay_rule=decay_rule)
    return LARS(groups, lr=lr, momentum=momentum, trust=trust)
