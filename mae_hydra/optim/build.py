"""From what a configuration says to an optimizer of a model."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mae_hydra.optim.groups import parameter_groups


def optimizer_of(model: nn.Module, factory: Callable[..., Any]) -> torch.optim.Optimizer:
    """Call `factory` with the model, or, where it is a class of optimizers, with the model's parameter groups.

    A class is torch's or like it, `torch.optim.SGD` say, with or without arguments (`functools.partial`). Its groups
    are those of `parameter_groups` without layer decay: biases and norms are free of its weight decay.
    """
    kind = getattr(factory, "func", factory)
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer):
        made = factory(_groups(model, kind, getattr(factory, "keywords", {})))
    else:
        made = factory(model)
    if not isinstance(made, torch.optim.Optimizer):
        raise ValueError(f"_target_ must give a torch.optim.Optimizer, got a {type(made).__name__}")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in made.param_groups:  # what a schedule multiplies, and by what a saved state finds its parameters
        group.setdefault("initial_lr", group["lr"])
        group.setdefault("names", [names.get(id(parameter), "") for parameter in group["params"]])
    return made


def _groups(model: nn.Module, kind: type, given: dict[str, Any]) -> list[dict[str, Any]]:
    known = inspect.signature(kind).parameters
    chosen = {name: given.get(name, known[name].default) for name in ("lr", "weight_decay") if name in known}
    lr = chosen.get("lr", inspect.Parameter.empty)
    if not isinstance(lr, (int, float)):
        raise ValueError(f"lr must be given: {kind.__name__} has none of its own")
    decay = chosen.get("weight_decay", 0.0)
    groups = parameter_groups(model, lr=lr, weight_decay=decay, layer_decay=1.0, decay_rule="pretrain")
    return groups if "weight_decay" in known else [_without(group, "weight_decay") for group in groups]


def _without(group: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != key}
