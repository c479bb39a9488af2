"""The optimizer of a configuration, for a model that is where it will be trained."""

from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from mae_hydra.configuration.construct import build, complete
from mae_hydra.errors import UserError
from mae_hydra.optim import optimizer_of


def made_optimizer(node: DictConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build what `config.optimizer` describes for `model`; UserError for what it refuses, with the key."""
    factory = build(node, "optimizer")
    if not isinstance(factory, partial):
        raise UserError("optimizer needs _partial_: true: it is built when there is a model")

    def of_model(model: nn.Module, **given: Any) -> torch.optim.Optimizer:
        return optimizer_of(model, partial(factory.func, *factory.args, **given))

    return complete("optimizer", partial(of_model, **factory.keywords), model)
