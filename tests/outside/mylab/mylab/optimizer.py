"""An optimizer, and the factory that gives it a model's parameters."""

import torch
from torch import nn

from mae_hydra.optim import parameter_groups


class Signum(torch.optim.Optimizer):
    """Steps by the sign of the averaged gradient (arXiv 1802.04434), with decoupled weight decay."""

    def __init__(self, params, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(average.sign(), alpha=group["lr"])


def signum(
    model: nn.Module, *, lr: float, momentum: float, weight_decay: float, layer_decay: float, decay_rule: str
) -> Signum:
    """Signum over a model's groups: one for each depth, with weight decay or without."""
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay, decay_rule=decay_rule)
    return Signum(groups, lr=lr, momentum=momentum)
