"""One step of a run again, in each of the processes that computed it: what went in and what came out of it."""

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from mae_hydra import products
from mae_hydra.archive import read_training_state
from mae_hydra.configuration.construct import build
from mae_hydra.configuration.from_file import literal
from mae_hydra.data import ImageData
from mae_hydra.distributed import broadcast_object, gather_objects, is_main, rank, session, world_size
from mae_hydra.engine import Settings, train_step
from mae_hydra.engine.log_window import StepResult
from mae_hydra.engine.sharding import full_tensor
from mae_hydra.engine.step import set_learning_rates
from mae_hydra.errors import UserError
from mae_hydra.experiment.assemble import Assembled, assemble
from mae_hydra.experiment.same_run import differ, facts_of
from mae_hydra.precision import cast_parameters
from mae_hydra.seeds import seed_device
from mae_hydra.types import Batch, Loss
from mae_hydra.workflows.replay_report import write_and_show
from mae_hydra.workflows.replayed import Found, Shown

PICTURES = 64  # of a step, over all processes: looked at one by one


@dataclass(frozen=True)
class Seen:
    """A micro-batch as the model got it, and the state of the generators when it did."""

    batch: Batch
    generators: tuple[Any, ...]


def take_again(
    config: Mapping[str, Any], run_dir: Path, *, step: int, checkpoint: str | None, start: Mapping[str, Any]
) -> float:
    """Take step `step` (from 1) again with `config` (resolved), from a checkpoint or from the initial weights.

    `start`: what starts.jsonl holds of the start that computed it. The main process writes what was found and shows it;
    returns the loss.
    """
    node = literal(config)  # what has been resolved is not resolved once more
    data: ImageData = build(node.data, "data")
    settings: Settings = build(node.engine, "engine")
    settings.apply()
    if isinstance(start.get("threads"), int):
        torch.set_num_threads(start["threads"])  # other sums of fewer parts differ in their last bits
    with session(settings.torch_device):
        facts = start.get("data") or {}
        products.take(facts.get("products") or "torch")
        _refuse_other_images(node, data, facts, step, run_dir)
        made = assemble(
            node,
            run_dir,
            data,
            settings,
            steps_per_epoch=facts.get("steps_per_epoch"),
            class_weights=facts.get("class_weights"),
            precision=facts.get("precision") or settings.resolved_precision,
            from_the_beginning=checkpoint is None,
        )
        if checkpoint is not None:
            made.checkpoints.fill(made.state, read_training_state(checkpoint), Path(checkpoint))
        found = _take(made, made.settings, node, data, step)
        if is_main():
            write_and_show(found, data, run_dir, step, node, checkpoint=checkpoint, start=start)
        return found.means["loss"]


def _refuse_other_images(
    config: DictConfig, data: ImageData, before: Mapping[str, Any], step: int, run_dir: Path
) -> None:
    refusal = None
    if is_main() and before:
        now = facts_of(config, data)
        if differ(before, now, "train"):
            refusal = (
                f"step {step} of {run_dir} was computed on {before['train']['images']} images in {before.get('root')}, "
                f"and these are {now['train']['images']} others in {now['root']}; give its own with data.root="
            )
    refusal = broadcast_object(refusal)
    if refusal is not None:
        raise UserError(refusal)


def _take(made: Assembled, settings: Settings, config: DictConfig, data: ImageData, step: int) -> Found:
    state = made.state
    state.model.train()

    def prepare() -> None:
        # As the loop does it: all that is random in a step follows from this.
        seed_device(config.seed, "step", state.step, rank())
        set_learning_rates(state.optimizer, made.schedule.factor(state.step))

    with closing(made.stream.batches(state.step)) as batches:
        while state.step < step - 1:
            prepare()
            train_step(state, made.forward, batches, accumulate=made.cut.accumulate, settings=settings)
            _say_progress(state.step, step)
        before = None if settings.sharded else copy.deepcopy(state.model.state_dict())
        seen: list[Seen] = []
        prepare()
        # Loss and norm are taken before clipping, and so are the gradients: what comes after the step does not matter.
        unclipped = replace(settings, clip_grad=None)
        result = train_step(
            state,
            made.forward,
            _keeping(batches, settings.torch_device, seen),
            accumulate=made.cut.accumulate,
            settings=unclipped,
        )
    norms = {
        name: full_tensor(p.grad.norm()).item() for name, p in state.model.named_parameters() if p.grad is not None
    }
    rate = max(group["lr"] for group in state.optimizer.param_groups)
    if before is not None:
        state.model.load_state_dict(before)
    images = _images(seen, state.model, settings, config, data, cheap=before is not None)
    numbers = sum(len(each.batch.images) for each in seen) * world_size()
    return _found(result, norms, state.model, rate, images, numbers)


def _found(
    result: StepResult, norms: dict[str, float], model: nn.Module, rate: float, images: list[Shown], numbers: int
) -> Found:
    count = result.count.item()
    return Found(
        means={name: total.item() / count if count else float("nan") for name, total in result.sums.items()},
        count=count,
        rate=rate,
        grad_norm=result.grad_norm.item(),
        norms=norms,
        depths={name: model.depth_of(name) for name in norms},  # type: ignore[operator]
        images=[image for share in gather_objects(images) for image in share],
        num_images=numbers,
    )


def _keeping(batches: Iterator[Batch], device: torch.device, seen: list[Seen]) -> Iterator[Batch]:
    """The batches, on the device, where some are finished only; the step itself then has nothing to move."""
    for batch in batches:
        moved = batch.to(device)
        seen.append(Seen(moved, _generators()))
        yield moved


def _generators() -> tuple[Any, ...]:
    on_device = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return torch.get_rng_state(), on_device, random.getstate()


def _restore(generators: tuple[Any, ...]) -> None:
    on_host, on_device, pythons = generators
    torch.set_rng_state(on_host)
    if on_device is not None:
        torch.cuda.set_rng_state(on_device)
    random.setstate(pythons)


@torch.no_grad()
def _images(
    seen: list[Seen], model: nn.Module, settings: Settings, config: DictConfig, data: ImageData, *, cheap: bool
) -> list[Shown]:
    """The images of this process, up to its share of PICTURES; `model` has the weights from before the step."""
    shown: list[Shown] = []
    most = max(PICTURES // world_size(), 1)
    for each in seen:
        batch = each.batch
        with settings.autocast(), cast_parameters(model, settings.precision):
            keep, visible = _what_was_seen(each, model, config.task)
            for place in range(min(len(batch.images), most - len(shown))):
                index = None if batch.index is None else int(batch.index[place])
                loss = _loss_of(each, model, place, keep, config.task, data) if cheap else None
                total, count = (None, None) if loss is None else (loss.total.item(), loss.count.item())
                label = None if batch.labels is None else batch.labels[place].cpu().numpy()
                shown.append(
                    Shown(
                        process=rank(),
                        index=index,
                        name="" if index is None else _name(data, index),
                        pixels=_pixels(batch.images[place], data),
                        labels=label if label is None or label.ndim == 2 else int(label),
                        visible=None if visible is None else visible[place],
                        loss=None if total is None or not count else total / count,
                        counted=count,
                    )
                )
    return shown


def _what_was_seen(each: Seen, model: Any, task: str) -> tuple[Tensor | None, np.ndarray | None]:
    """Find the patches that a masked autoencoder's step kept, and the same as pixels, bool (B, H, W)."""
    if task != "pretrain" or not hasattr(model, "predicted_share"):
        return None, None
    if list(each.batch.images.shape[2:]) != list(model.encoder.image_size):
        return None, None
    _restore(each.generators)
    output = model(each.batch.images)
    patch = each.batch.images.shape[2] // model.encoder.grid[0]
    visible = ~output.hidden.unflatten(1, model.encoder.grid)
    return output.keep, visible.repeat_interleave(patch, 1).repeat_interleave(patch, 2).cpu().numpy()


def _loss_of(each: Seen, model: Any, place: int, keep: Tensor | None, task: str, data: ImageData) -> Loss | None:
    """The loss of one image of a micro-batch as it was in the step; None where it cannot be told apart cheaply."""
    batch = each.batch
    if task == "pretrain":
        if keep is None or model.predicted_share < 1:
            return None
        found: Loss = model.loss(Batch(batch.images[place : place + 1]), keep=keep[place : place + 1])
    elif batch.labels is not None and batch.labels.ndim == 3:
        # The whole batch again, batch normalisation included, of which only this image's pixels count.
        labels = torch.full_like(batch.labels, data.ignore_index)
        labels[place] = batch.labels[place]
        _restore(each.generators)
        found = model.loss(Batch(batch.images, labels, batch.index))
    else:
        return None
    return found


def _name(data: ImageData, index: int) -> str:
    try:
        return data.train[index].name
    except UserError:  # a file that cannot be read: another image stands in its place
        return "(unreadable)"


def _pixels(image: Tensor, data: ImageData) -> np.ndarray:
    if image.is_floating_point():  # normalised already
        mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (data.mean, data.std))
        image = ((image.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return image.permute(1, 2, 0).cpu().numpy()


def _say_progress(done: int, step: int) -> None:
    if is_main() and done % max(step // 10, 50) == 0:
        print(f"computed again up to step {done}", flush=True)
