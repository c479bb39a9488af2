"""The model that a file's configuration describes, built without numbers first, as far as the file's weights go.

What a configuration says costs nothing until it has been compared with the tensors beside it: a depth of 20000 over the
weights of 12 blocks ends at the first block too many, and no width takes memory on the meta device.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.modules import module as modules

from mae_hydra.configuration.check import check
from mae_hydra.configuration.construct import build
from mae_hydra.configuration.from_file import literal
from mae_hydra.errors import UserError
from mae_hydra.weights import Checkpoint

# Some parts are replaced while a model is built, and some have no parameters.
PARAMETERS_A_TENSOR, MODULES_A_TENSOR, SPARE = 2, 8, 100


def model_of(checkpoint: Checkpoint, config: Mapping[str, Any]) -> nn.Module:
    """The model that `config`, resolved, describes, without the weights of `checkpoint`.

    A checkpoint may come from anywhere, and so may what it says: nothing but a model is built from it.
    """
    node = literal({"model": config.get("model")})
    if not OmegaConf.is_dict(node.model) or "_target_" not in node.model:
        raise UserError(f"{checkpoint.path} names no model in its configuration; it was not written by this program")
    try:
        check(node, origin="model")
        return _built(node)
    except UserError as error:
        raise UserError(f"{checkpoint.path}: {error}") from error


def _built(node: DictConfig) -> nn.Module:
    made = build(node.model, "model", origin="model")
    if not isinstance(made, nn.Module):
        raise UserError(f"model._target_ = {node.model._target_} gives a {type(made).__name__}, not a model")
    return made


def sketch_of(checkpoint: Checkpoint, config: Mapping[str, Any]) -> nn.Module:
    """Build a model on the meta device; UserError as soon as it has more parts than the checkpoint has tensors for."""
    with torch.device("meta"), _no_more_parts_than(checkpoint):
        return model_of(checkpoint, config)


@contextmanager
def _no_more_parts_than(checkpoint: Checkpoint) -> Iterator[None]:
    tensors = len(checkpoint.tensors)
    left = {"parameters": PARAMETERS_A_TENSOR * tensors + SPARE, "modules": MODULES_A_TENSOR * tensors + SPARE}

    def count(kind: str) -> None:
        left[kind] -= 1
        if left[kind] < 0:
            raise UserError(
                f"its configuration describes a larger model than its {tensors} tensors are; give the checkpoint that "
                "belongs to it"
            )

    hooks = [
        modules.register_module_parameter_registration_hook(lambda *_: count("parameters")),
        modules.register_module_module_registration_hook(lambda *_: count("modules")),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
