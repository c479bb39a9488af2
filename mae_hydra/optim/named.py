"""Any optimizer of torch or timm by its name, over layer-wise parameter groups."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from mae_hydra.optim.groups import parameter_groups
from mae_hydra.optim.rates import base_rate

MOMENTUM = 0.9
# Names of torch's that cannot be had this way, and why.
APART = {
    "Muon": "it takes matrices only: optimizer=muon gives the other parameters to AdamW",
    "LBFGS": "it asks for the loss several times a step",
    "SparseAdam": "it is for sparse gradients, which no model has here",
}


def named(
    model: nn.Module,
    *,
    name: str,
    lr: float | None,
    base_lr: float | None,
    global_batch: int,
    weight_decay: float,
    layer_decay: float,
    decay_rule: str,
    options: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """Build the optimizer of that name for what is trainable in `model`.

    `name`: of a class of torch.optim ("SGD", "RAdam"), or as timm lists them ("lion", "lamb", "adan"). `options`: its
    further arguments. The learning rate as of `adamw`.
    """
    lr = base_rate(lr, base_lr, global_batch)
    factory = _factory(name)
    known, options = inspect.signature(factory).parameters, dict(options or {})
    takes_any = any(argument.kind is argument.VAR_KEYWORD for argument in known.values())
    for key in options.keys() & {"lr", "weight_decay"}:
        raise ValueError(f"options.{key} would say again what {key} says; leave it out and set {key}")
    unknown = sorted(options.keys() - known.keys())
    if unknown and not takes_any:
        names = ", ".join(key for key in known if key not in ("params", "lr", "weight_decay"))
        raise ValueError(f"options.{unknown[0]} is not an argument of {name}; it takes {names}")
    if "weight_decay" in known or takes_any:
        options["weight_decay"] = weight_decay
    elif weight_decay:
        raise ValueError(f"weight_decay must be 0 for {name}, which has none, got {weight_decay}")
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay, decay_rule=decay_rule)
    return factory(groups, lr=lr, **options)


def _factory(name: str) -> Callable[..., torch.optim.Optimizer]:
    if name in APART:
        raise ValueError(f"name must be of another optimizer than {name}: {APART[name]}")
    found = getattr(torch.optim, name, None)
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and found is not torch.optim.Optimizer:
        return found
    import timm.optim

    if name not in timm.optim.list_optimizers():
        raise ValueError(
            f"name must be of an optimizer of torch.optim or timm (timm.optim.list_optimizers()): {name!r}"
        )
    info = timm.optim.get_optimizer_info(name)
    if info.second_order:
        raise ValueError(f"name must be of another optimizer than {name}: it wants second derivatives")
    if name.startswith("kron"):
        raise ValueError(
            f"name must be of another optimizer than {name}: it draws numbers that no run could draw again"
        )
    try:
        made = timm.optim.get_optimizer_class(name, bind_defaults=True)
    except Exception as error:  # some are of packages that are not installed
        raise ValueError(f"name must be of an optimizer that is installed: {name} is not ({error})") from error
    # As timm's own factory has it: some of those with Nesterov's momentum have none unless they are told.
    return partial(made, momentum=MOMENTUM) if info.has_momentum else partial(made)
