"""What a run will take, before anything is booked: from its configuration alone, without data and without a GPU."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from mae_hydra.batch_norm import learned_statistics
from mae_hydra.benchmark.estimate import (
    Activations,
    InTwoPasses,
    activations,
    activations_of_a_step,
    example_batch,
    moments_of,
    state_bytes,
)
from mae_hydra.benchmark.parts import count_parts
from mae_hydra.configuration.construct import build, complete, nodes_of
from mae_hydra.configuration.made_optimizer import made_optimizer
from mae_hydra.data.dataset import height_width
from mae_hydra.engine import cut_batch
from mae_hydra.engine.parallel import recompute_blocks
from mae_hydra.errors import UserError
from mae_hydra.evaluation import Clock
from mae_hydra.experiment.doubts import doubtful_statistics
from mae_hydra.flops import training_flops
from mae_hydra.recorded.configuration import composed
from mae_hydra.types import DEFAULT_SIZE, channels_of, image_size_of

# (training, validation) images of data sets that need not be here to plan for them.
KNOWN = {"mae_hydra.data.imagenet": (1_281_167, 50_000), "mae_hydra.data.ade20k": (20_210, 2_000)}


@dataclass(frozen=True)
class Plan:
    """All numbers of a plan; times are hours, sizes bytes, `state` and `memory` (by images at a time) a device's."""

    name: str
    images: tuple[int, int]
    assumed_images: bool
    parts: list[dict[str, Any]]
    trainable: int
    flops_per_image: float
    steps: int
    epochs: float
    warmup_steps: int
    global_batch: int
    micro_batch: int
    accumulate: int
    devices: int
    lr: float
    lr_range: tuple[float, float]
    state: int
    checkpoint: int
    disk: int
    memory: dict[str, Activations]
    evaluations: int
    evaluation_share: float
    warnings: list[str]

    @property
    def total_flops(self) -> float:
        return self.flops_per_image * self.steps * self.global_batch

    def hours(self, peak_tflops: float, mfu: float) -> float:
        """Estimate the hours of training at the share `mfu` of all devices' peak; without evaluations and loading."""
        return self.total_flops / (self.devices * peak_tflops * 1e12 * mfu) / 3600

    def memory_bytes(self, precision: str, images: int) -> int:
        return self.state + self.memory[precision].of(images)

    def numbers(self) -> dict[str, Any]:
        return asdict(self) | {"total_flops": self.total_flops}


def plan(words: Sequence[str], *, devices: int | None, images: int | None) -> Plan:
    """The plan of `python train.py <words>` on `devices` devices, by default those of `engine.devices`; `words` may
    begin with a run, whose like is planned.

    `images`: how many the training set has, where it is not on this machine and not of known size.
    """
    config = composed(words)
    if devices is None:
        devices = 1 if config.engine.devices == "auto" else int(config.engine.devices)
    counts, assumed = _images(config, images)
    with torch.device("meta"):
        model = build(config.model, "model")
    optimizer = made_optimizer(config.optimizer, model)
    height, width = image_size_of(model) or DEFAULT_SIZE
    parts = [part._asdict() for part in count_parts(model.eval(), _meta_image(channels_of(model), height, width))]
    cut = complete("engine", cut_batch, config.engine.global_batch, config.data.batch_size, devices)
    whole = counts[0] // config.engine.global_batch * config.engine.global_batch
    steps_per_epoch = (whole or counts[0]) / config.engine.global_batch
    schedule = complete("schedule", build(config.schedule, "schedule"), steps_per_epoch)
    rates = [group["initial_lr"] for group in optimizer.param_groups]
    state, checkpoint = state_bytes(model, moments_of(optimizer), average=config.engine.ema_decay is not None)
    recompute = config.engine.recompute
    doubt = doubtful_statistics(model, cut, config.engine.batch_norm)
    together = config.engine.batch_norm == "step" and cut.accumulate > 1 and bool(learned_statistics(model))
    memory = {
        precision: activations_of_a_step(model, precision, cut.micro_batch * cut.accumulate, recompute=recompute)
        if together
        else activations(model, precision, recompute=recompute)
        for precision in ("bf16", "fp32")
    }
    if recompute:
        recompute_blocks(model)
    build(config.augment, "augment")  # what cannot be is said here, as it is before a run
    flops = (
        training_flops(InTwoPasses(model), example_batch(model, 2))
        if together
        else _flops(model, config, schedule.steps / steps_per_epoch)
    )
    evaluations, evaluated = _evaluations(config, counts[1], schedule.steps)
    made = Plan(
        name=config.name,
        images=counts,
        assumed_images=assumed,
        parts=parts,
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        flops_per_image=flops,
        steps=schedule.steps,
        epochs=schedule.steps / steps_per_epoch,
        warmup_steps=_warmup(schedule),
        global_batch=config.engine.global_batch,
        micro_batch=cut.micro_batch,
        accumulate=cut.accumulate,
        devices=devices,
        lr=max(rates),
        lr_range=(min(rates), max(rates)),
        state=math.ceil(state / devices) if config.engine.parallel == "fsdp" else state,
        checkpoint=checkpoint,
        disk=checkpoint * _files(config, schedule.steps),
        memory=memory,
        evaluations=evaluations,
        evaluation_share=evaluated * flops / 3 / (flops * schedule.steps * config.engine.global_batch),
        warnings=[] if doubt is None else [doubt],
    )
    made.warnings.extend(_warnings(made, config))
    return made


def _flops(model: Any, config: DictConfig, epochs: float) -> float:
    """Operations that an image takes, in the mean over a run of so many epochs where its size grows on the way."""
    total = before = 0.0
    for size, until in zip(config.augment.get("smaller", []), config.augment.get("smaller_until", []), strict=True):
        until = min(until, epochs)
        total += (until - before) * training_flops(model, example_batch(model, 2, height_width(size)))
        before = until
    return (total + (epochs - before) * training_flops(model, example_batch(model, 2))) / epochs


def _images(config: DictConfig, given: int | None) -> tuple[tuple[int, int], bool]:
    """(training, validation) images, and whether they are assumed, not counted."""
    known = KNOWN.get(config.data._target_)
    if given is not None:
        return (given, known[1] if known else 0), True
    root = config.data.get("root")
    if root is None or Path(root).expanduser().is_dir():
        data = build(config.data, "data")
        return (len(data.train), len(data.validation)), False
    if known is None:
        raise UserError(f"there is no data.root={root} to count its images; say how many there are with --images")
    limit = config.data.get("train_limit")
    wanted = known[0] if limit is None else round(limit * known[0]) if limit < 1 else int(limit)
    wanted = max(round(wanted * (config.data.get("label_fraction") or 1)), 1)
    return (wanted, known[1]), True


def _meta_image(channels: int, height: int, width: int) -> torch.Tensor:
    return torch.zeros(1, channels, height, width, device="meta")


def _warmup(schedule: Any) -> int:
    """Steps until the learning rate is at its largest."""
    return max(range(min(schedule.steps, 200_000)), key=schedule.factor) if schedule.steps else 0


def _evaluations(config: DictConfig, validation: int, steps: int) -> tuple[int, int]:
    """Count the evaluations, and the images that they look at together."""
    count = images = 0
    for node in nodes_of(config, "evaluation").values():
        times = Clock(node.get("every")).times(steps)
        count += times
        images += times * min(node.get("limit") or validation, validation)
    return count, images


def _files(config: DictConfig, steps: int) -> int:
    """Checkpoints on the disk at the end, of which those that are links to one file count once."""
    settings = config.checkpoint
    saves = 1 if settings.every is None else max(1, math.ceil(steps / settings.every))
    milestones = 0 if settings.keep_every is None else steps // settings.keep_every
    return min(saves, settings.keep_last) + milestones + (1 if settings.save_best else 0)


def _warnings(made: Plan, config: DictConfig) -> list[str]:
    warnings = []
    if made.warmup_steps > made.steps / 2:
        warnings.append(f"warm-up takes {made.warmup_steps} of {made.steps} steps; use a smaller schedule.warmup")
    recipe = _recipe_batch(config)
    if recipe is not None and not 0.5 <= made.global_batch / recipe <= 2:
        warnings.append(
            f"engine.global_batch is {made.global_batch}, the recipe was made for {recipe}: its learning rate and "
            "schedule may not fit"
        )
    if made.evaluation_share > 0.1:
        warnings.append(
            f"evaluation costs at least {100 * made.evaluation_share:.0f} % of training; use a larger "
            "evaluation.validation.every or a limit"
        )
    if config.checkpoint.every is not None and config.checkpoint.every > made.steps:
        warnings.append(f"checkpoint.every is {config.checkpoint.every}, the run ends after {made.steps} steps")
    growing = config.augment.get("smaller_until", [])
    if growing and growing[-1] >= made.epochs:
        warnings.append(
            f"the run ends after {made.epochs:.4g} epochs, before its images have grown to their size at epoch "
            f"{growing[-1]}"
        )
    return warnings


def _recipe_batch(config: DictConfig) -> int | None:
    """Images per step that the paper's schedule assumes: 4096 in pre-training by epochs, 16 of UPerNet's."""
    schedule = OmegaConf.to_container(config.schedule, resolve=True)
    assert isinstance(schedule, dict)
    if config.task == "pretrain" and schedule.get("unit") == "epoch" and schedule.get("total", 0) >= 400:
        return 4096
    if config.task == "segment" and schedule.get("unit") == "step" and schedule.get("total", 0) >= 80_000:
        return 16
    return None
