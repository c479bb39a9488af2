"""`mae_hydra.build` and `mae_hydra.load`: the two doors for notebooks and scripts."""

from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import nn

from mae_hydra.errors import UserError
from mae_hydra.experiment.check import check, complaints
from mae_hydra.experiment.compose import compose_config
from mae_hydra.experiment.construct import build as construct
from mae_hydra.seeds import seed_device
from mae_hydra.weights import load_exact, read_checkpoint


def build(*overrides: str) -> nn.Module:
    """The model that `python train.py <overrides>` would train, freshly initialised from the configured seed."""
    config = compose_config(overrides)
    check(config)
    with torch.random.fork_rng():  # the caller's generators stay as they are
        seed_device(config.seed, "init")
        return construct(config.model, "model")


def load(path: str | Path) -> nn.Module:
    """A trained model in eval mode, with the normalisation it was trained with.

    `path` is a run directory or a checkpoint file. Of a run directory the best checkpoint is taken, where there is
    one, otherwise the last.
    """
    checkpoint = read_checkpoint(path, prefer="best")
    config = checkpoint.meta.get("config")
    if not config:
        raise UserError(f"{path} does not say which model it holds; use mae_hydra.build(...) and init_from instead")
    node = OmegaConf.create({"model": config.get("model")})
    if not OmegaConf.is_dict(node.model) or "_target_" not in node.model:
        raise UserError(f"{path} names no model in its configuration; it was not written by this program")
    for complaint in complaints(node, ""):
        raise UserError(f"{path}: {complaint}")
    with torch.random.fork_rng():
        # A checkpoint may come from anywhere, and so may what it says: nothing but a model is built from it.
        model = construct(node.model, "model", trusted=("mae_hydra.models.",))
    load_exact(model, checkpoint)
    return model.eval()
