"""What is looked at before the first step: the validation files, and a training sample through the augmentation."""

from contextlib import suppress
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mae_hydra.data import Augment, ImageData, Sample, stack
from mae_hydra.data.loading.look_ahead import Seen, look_ahead
from mae_hydra.data.loading.unreadable import replacements
from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.seeds import generator
from mae_hydra.terminal import watched
from mae_hydra.types import Batch

MEMORY = ".looked_at"  # below the output root


def look_at_validation(data: ImageData, output_root: str) -> Seen | None:
    """Look at pictures of the validation set; a UserError, in every process, where a sample cannot be evaluated."""
    seen: Seen | None = None
    complaint = ""
    if is_main():
        columns = (TextColumn("looking at {task.description}"), BarColumn(30), MofNCompleteColumn())
        with Progress(*columns, transient=True, disable=not watched()) as bar:
            task = bar.add_task("validation files", total=len(data.validation))
            try:
                seen = look_ahead(
                    data.validation,
                    Path(output_root) / MEMORY,
                    lambda done, total, what: bar.update(task, completed=done, total=total, description=what),
                )
            except UserError as error:
                complaint = str(error)
    seen, complaint = broadcast_object((seen, complaint))
    if complaint:
        raise UserError(complaint)
    return seen


def unseen_note(seen: Seen | None, data: ImageData) -> list[str]:
    """One line where time did not allow to look at all class maps."""
    if seen is None or data.target != "map" or seen.num_labels >= seen.num_images:
        return []
    return [
        f"note: the values of {seen.num_labels} of {seen.num_images} validation maps have been looked at so far; "
        "mae-hydra check-data looks at all"
    ]


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
