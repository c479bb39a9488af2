"""The first training sample through the augmentation, before anything large is built."""

from contextlib import suppress

import torch
from omegaconf import DictConfig

from mae_hydra.data import Augment, ImageData, Sample, stack
from mae_hydra.data.loading.unreadable import replacements
from mae_hydra.errors import UserError
from mae_hydra.seeds import generator
from mae_hydra.types import Batch

TARGETS = {"segment": "map", "classify": "class"}  # what a task trains on; pre-training takes any images


def _first_readable(data: ImageData, seed: int) -> Sample:
    """The first training sample, or one of those that would take its place; UserError where none can be read."""
    try:
        return data.train[0]
    except UserError as error:
        if data.max_bad_share > 0:
            for index in replacements(seed, 0, 0, len(data.train)):
                with suppress(UserError):
                    return data.train[index]
        raise error


def check_sample_fits_task(config: DictConfig, data: ImageData, augment: Augment) -> Batch:
    """One sample through the augmentation, twice in a batch: what does not fit the task is said before anything large
    is built."""
    wanted = TARGETS.get(config.task)
    if wanted is not None and data.target != wanted:
        noun, sets = {
            "map": ("label maps", "data=scenes or data=ade20k"),
            "class": ("a class for every image", "data=scene_classes or data=imagenet"),
        }[wanted]
        raise UserError(
            f"model {config.name} needs {noun}, and this data set has none; use {sets}, "
            "or pre-train on it with a MAE: model=mae_vitb"
        )
    if len(data.train) == 0:
        raise UserError("this data set has nothing to train on; it is there to evaluate on: mae-hydra evaluate")
    if config.task != "pretrain" and config.augment.get("smaller"):
        raise UserError(f"augment.smaller is for pre-training a MAE, model {config.name} takes images of one size")
    image, label = augment(_first_readable(data, config.seed), generator(config.seed, "try"))
    if wanted == "map" and not isinstance(label, torch.Tensor):
        raise UserError(f"model {config.name} needs label maps, which this augmentation drops; use augment=segment")
    batch = stack([image] * 2, [label] * 2, [0] * 2).to("cpu")
    height, width = batch.images.shape[2:]
    if (height, width) != data.image_size:
        size = "x".join(map(str, data.image_size))
        raise UserError(f"augment.size must be data.image_size ({size}), got {height}x{width}")
    return batch
