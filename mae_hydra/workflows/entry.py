"""`mae_hydra.build` and `mae_hydra.load`: the two doors for notebooks and scripts."""

import logging
from pathlib import Path

import torch
from torch import nn

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build as construct
from mae_hydra.recorded.configuration import model_configuration
from mae_hydra.recorded.sketch import model_of, sketch_of
from mae_hydra.seeds import seed_device
from mae_hydra.weights import Checkpoint, check_exact, load_exact, read_checkpoint

log = logging.getLogger("mae_hydra")

UNKNOWN_TARGET = (
    "whether the targets were normalized per patch is not in the file; taken as normalized, as in mae_pretrain_*_full "
    "(mae_visualize_* files are not)"
)


def build(*overrides: str) -> nn.Module:
    """The model that `python train.py <overrides>` would train, freshly initialised from the configured seed."""
    config = compose_config(overrides)
    check(config)
    with torch.random.fork_rng():  # the caller's generators stay as they are
        seed_device(config.seed, "init")
        return construct(config.model, "model")


def load(path: str | Path, *overrides: str) -> nn.Module:
    """A trained model in eval mode, with the normalisation it was trained with.

    `path` is a run directory (its best checkpoint is taken, where there is one, otherwise the last), a checkpoint file
    or folder in any known layout, or the address of one: "hf-hub:<org>/<name>", "timm/<name>", "https://…". A file that
    holds an encoder alone gives a VisionTransformer. `overrides` go on top of the configuration that it carries, or say
    what a released file does not tell: "backbone.num_heads=6".
    """
    return model_from(read_checkpoint(path, prefer="best", download=True), *overrides)


def model_from(checkpoint: Checkpoint, *overrides: str) -> nn.Module:
    """`load` of a checkpoint that has been read."""
    config, notes = model_configuration(checkpoint, overrides)
    for note in notes:
        log.warning("%s: %s", checkpoint.path, note)
    if "config" not in checkpoint.meta and checkpoint.kind == "mae" and "norm_pix" not in checkpoint.meta:
        log.warning("%s: %s", checkpoint.path, UNKNOWN_TARGET)
    check_exact(sketch_of(checkpoint, config), checkpoint)  # before anything of its size is built
    with torch.random.fork_rng():
        model = model_of(checkpoint, config)
    load_exact(model, checkpoint)
    for remark in checkpoint.remarks:
        log.warning(remark)
    return model.eval()
