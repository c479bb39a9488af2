"""From a configuration to the objects that a step needs, the cheap ones first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from torch import nn

from mae_hydra.accelerators import peak_tflops
from mae_hydra.configuration.construct import build, complete, expect, nodes_of
from mae_hydra.configuration.made_optimizer import made_optimizer
from mae_hydra.data import Augment, ImageData, TrainStream
from mae_hydra.data.loading.look_ahead import some_headers
from mae_hydra.distributed import broadcast_object, is_main, rank, world_size
from mae_hydra.engine import (
    Callbacks,
    Checkpoints,
    Cut,
    EarlyStopping,
    Settings,
    State,
    Twin,
    cut_batch,
    moving_average,
    wrap,
)
from mae_hydra.errors import UserError
from mae_hydra.experiment.class_weights import give_class_weights
from mae_hydra.experiment.doubts import check_partners, doubtful_statistics, warn_of_random_encoder
from mae_hydra.experiment.first_look import check_sample_fits_task, look_at_validation, unseen_note
from mae_hydra.experiment.labels import say_doubts
from mae_hydra.experiment.messages import say
from mae_hydra.flops import training_flops
from mae_hydra.recorded.pixel_range import recorded_range
from mae_hydra.seeds import seed_device
from mae_hydra.types import Callback, Evaluator, Schedule
from mae_hydra.weights import Checkpoint, read_checkpoint, transfer
from mae_hydra.weights.metadata import normalization

ALIKE = 1e-3  # of means and deviations: they are told with three digits
OWED = {  # what parts of anybody's are asked for here; mae_hydra.types has it in full
    "data": ("train", "validation", "image_size", "target"),
    "model": ("loss", "depth_of", "num_depths", "state_dict"),
    "evaluation": ("check", "due", "run"),
    "callbacks": ("on_progress",),
    "logger": ("start", "scalars", "evaluation", "finish"),
}


@dataclass(frozen=True)
class Assembled:
    """What a configuration stands for, built: all that a step needs. `started`: the state is to be restored.

    `flops`, of an image, and `peak`, of the device: None where they are not known. `doubt`: of its batch statistics.
    `class_weights`: of a loss that wanted them worked out. `settings`: with the precision that was chosen.
    """

    cut: Cut
    stream: TrainStream
    schedule: Schedule
    evaluators: Mapping[str, Evaluator]
    checkpoints: Checkpoints
    started: bool
    given: Checkpoint | None
    state: State
    forward: nn.Module
    flops: float | None
    peak: float | None
    doubt: str | None
    class_weights: list[float] | None
    settings: Settings


def assemble(
    config: DictConfig,
    run_dir: Path,
    data: ImageData,
    settings: Settings,
    *,
    steps_per_epoch: float | None = None,
    class_weights: Sequence[float] | None = None,
    precision: str | None = None,
    from_the_beginning: bool = False,
    download: bool = False,
) -> Assembled:
    """Build what `config` describes. `steps_per_epoch`, of the schedule, `class_weights`, of the loss, and `precision`:
    those with which a run began; `from_the_beginning`: not to be restored, whatever has been saved; `download`: whether
    init_from may be fetched."""
    # What is cheap comes first: a large model should not be built for a mistake in what comes after it.
    augment: Augment = build(config.augment, "augment")
    if is_main():
        say(*data.notes)
    if config.task == "segment":
        say_doubts(data)
    example = check_sample_fits_task(config, data, augment)
    cut = complete("engine", cut_batch, settings.global_batch, data.batch_size, world_size())
    stream = TrainStream(
        data.train,
        augment,
        global_batch=settings.global_batch,
        micro_batch=cut.micro_batch,
        rank=rank(),
        world_size=world_size(),
        seed=config.seed,
        num_workers=data.num_workers,
        device_is_cuda=settings.torch_device.type == "cuda",
        prefetch=data.prefetch,
        max_bad_share=data.max_bad_share,
    )
    schedule = complete("schedule", build(config.schedule, "schedule"), steps_per_epoch or stream.steps_per_epoch)
    inference = build(config.inference, "inference")
    evaluators: dict[str, Evaluator] = {
        name: expect(
            f"evaluation.{name}",
            complete(f"evaluation.{name}", build(node, f"evaluation.{name}"), data=data, inference=inference),
            OWED["evaluation"],
        )
        for name, node in nodes_of(config, "evaluation").items()
    }
    if config.task != "segment" and any(getattr(each, "reads_maps", False) for each in evaluators.values()):
        say_doubts(data, training=False)
    callbacks = Callbacks(built_callbacks(config, settings, evaluators))
    seen = look_at_validation(data, config.paths.output_root) if evaluators else None
    if is_main():
        say(*unseen_note(seen, data))
    checkpoints: Checkpoints = complete("checkpoint", build(config.checkpoint, "checkpoint"), run_dir / "checkpoints")
    started = config.resume != "never" and checkpoints.exist and not from_the_beginning
    begins = config.init_from and not started
    given = read_checkpoint(config.init_from, download=download, of_any=True) if begins else None
    if given is not None and is_main():
        say(*_notes_on_pixels(given, data))

    seed_device(config.seed, "init")
    model: nn.Module = expect("model", build(config.model, "model"), OWED["model"])
    settings = settings.settled(model.parameters(), precision)
    settings = replace(settings, precision=broadcast_object(settings.precision))  # processors of machines may differ
    doubt = doubtful_statistics(model, cut, settings.batch_norm)
    check_partners(model, cut)
    weights = give_class_weights(model, data, class_weights)
    if given is not None:
        transfer(model, given, config.init_adapt, data.class_names).show()
    elif not started:
        warn_of_random_encoder(model, config.name)
    for evaluator in evaluators.values():
        evaluator.check(model)
    for size in seen.sizes if seen is not None and config.task == "segment" else ():
        inference.check(model, size)
    if is_main():
        say(*_notes_on_sizes(data, augment))  # how training shows pictures, which are none that evaluation refuses
    peak = peak_tflops(settings.torch_device, settings.resolved_precision)
    one_size = not config.augment.get("smaller")  # else a step's operations change on the way
    flops = training_flops(model, example) if peak is not None and one_size else None
    twin = Twin(model) if settings.sharded else None
    average = moving_average(model, settings.ema_decay)
    forward = wrap(model, settings, average)
    # After wrapping: the optimizer must see the parameters where they are.
    optimizer = made_optimizer(config.optimizer, model)
    state = State(model, optimizer, settings.scaler(), average, twin, callbacks=callbacks)
    return Assembled(
        cut,
        stream,
        schedule,
        evaluators,
        checkpoints,
        started,
        given,
        state,
        forward,
        flops,
        peak,
        doubt,
        weights,
        settings,
    )


def built_callbacks(config: DictConfig, settings: Settings, evaluators: Mapping[str, Evaluator]) -> dict[str, Callback]:
    """Build the callbacks, by the key that configures each; early stopping is one of them."""
    built = {f"callbacks.{name}": node for name, node in nodes_of(config, "callbacks").items()}
    callbacks: dict[str, Callback] = {k: expect(k, build(node, k), OWED["callbacks"]) for k, node in built.items()}
    for key, callback in callbacks.items():
        if hasattr(callback, "state_dict"):  # what it remembers must come back to it
            expect(key, callback, ("load_state_dict",))
    if settings.stop_after is not None:
        if not evaluators:
            raise UserError("engine.stop_after counts evaluations, and this run has none; choose an evaluation=")
        stopping = EarlyStopping(monitor=config.checkpoint.monitor, patience=settings.stop_after)
        callbacks["engine.stop_after"] = stopping
    return callbacks


def _notes_on_sizes(data: ImageData, augment: Augment) -> list[str]:
    """What the augmentation says of the sizes of some training pictures, by their headers."""
    headers, notes_on = some_headers(data.train), getattr(augment, "notes_on", None)
    return [] if notes_on is None else notes_on([header.size for header in headers])


def _notes_on_pixels(given: Checkpoint, data: ImageData) -> Iterator[str]:
    """What the weights of init_from took for black, white and the mean color, where that is another here."""
    before, normalized = recorded_range(given.meta), normalization(given.meta)
    if before is not None and data.pixel_range is not None and before.pairs() != data.pixel_range.pairs():
        yield (
            f"note: the weights of init_from were trained with data.range={before}, this run has {data.pixel_range}; "
            "where the files hold the same quantity set data.range to the former"
        )
    now = list(data.mean), list(data.std)
    if normalized is not None and len(normalized[0]) == len(now[0]) and not np.allclose(normalized, now, 0, ALIKE):
        yield (
            f"note: the weights of init_from were trained with {_typed(*normalized)}, this run has {_typed(*now)}; "
            "where little of the encoder learns anew, set the former"
        )


def _typed(mean: Sequence[float], std: Sequence[float]) -> str:
    return " ".join(f"data.{name}={list(of)}".replace(", ", ",") for name, of in (("mean", mean), ("std", std)))
