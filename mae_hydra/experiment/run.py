"""The composition root: the whole story of a run, read from top to bottom."""

import logging
import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from mae_hydra.accelerators import peak_tflops
from mae_hydra.configuration.construct import build, complete, expect, nodes_of
from mae_hydra.configuration.made_optimizer import made_optimizer
from mae_hydra.data import Augment, ImageData, Sample, TrainStream, stack
from mae_hydra.data.loading.look_ahead import some_headers
from mae_hydra.data.loading.unreadable import replacements
from mae_hydra.distributed import broadcast_object, is_main, rank, session, world_size
from mae_hydra.engine import (
    Callbacks,
    Checkpoints,
    Cut,
    EarlyStopping,
    Settings,
    State,
    Twin,
    cut_batch,
    fit,
    moving_average,
    wrap,
)
from mae_hydra.errors import UserError
from mae_hydra.evaluation import DenseProbe
from mae_hydra.experiment.batch_statistics import doubtful_statistics
from mae_hydra.experiment.class_weights import give_class_weights
from mae_hydra.experiment.first_look import look_at_validation, unseen_note
from mae_hydra.experiment.holder import Refused
from mae_hydra.experiment.labels import say_doubts, warn
from mae_hydra.experiment.provenance import origin_of, parent_of
from mae_hydra.experiment.random_encoder import warn_of_random_encoder
from mae_hydra.experiment.same_run import (
    Trained,
    differ,
    facts_of,
    refuse_another_range,
    refuse_other_classes,
    refuse_other_images,
    scores_differ,
    what_was_trained,
)
from mae_hydra.experiment.start import Start
from mae_hydra.experiment.status import write_json
from mae_hydra.experiment.steps_taken import note_start
from mae_hydra.flops import training_flops
from mae_hydra.optim import describe_groups
from mae_hydra.recorded.pixel_range import recorded_range
from mae_hydra.seeds import generator, seed_device
from mae_hydra.tracking import Console, LocalFiles, Trackers, Utilisation
from mae_hydra.types import Batch, Callback, Evaluator, Schedule, Tracker
from mae_hydra.weights import Checkpoint, read_checkpoint, transfer

log = logging.getLogger("mae_hydra")

OWED = {  # what parts of anybody's are asked for here; mae_hydra.types has it in full
    "data": ("train", "validation", "image_size", "target"),
    "model": ("loss", "depth_of", "num_depths", "state_dict"),
    "evaluation": ("check", "due", "run"),
    "callbacks": ("on_progress",),
    "logger": ("start", "scalars", "evaluation", "finish"),
}
TARGETS = {"segment": "map", "classify": "class"}  # what a task trains on; pre-training takes any images


def run(
    config: DictConfig, plain: Mapping[str, Any], run_dir: Path, start: Start | None = None, *, telling: bool = True
) -> float:
    """Train what `config` describes in `run_dir`; returns the monitored metric.

    `plain` is the same configuration, resolved, as a dictionary. `start`: what the main process writes down before the
    first step, once nothing speaks against it. `telling`: processes after the first one say
    themselves what went wrong in them, because nobody else will.
    """
    data: ImageData = expect(
        "data", build(config.data, "data"), OWED["data"]
    )  # first: a missing data set is the commonest mistake
    settings: Settings = build(config.engine, "engine")
    settings.check_world(world_size())
    settings.apply()
    with session(settings.torch_device):
        run_dir = _shared(run_dir)
        try:
            results = _train(config, plain, run_dir, data, settings, start)
        except Exception as error:
            if telling and not is_main():
                print(f"error in process {rank()}: {error}", file=sys.stderr)  # first: the disk may be full
                with suppress(OSError):
                    (run_dir / f"error.rank{rank()}.txt").write_text(traceback.format_exc())
            raise
    return results.get(config.checkpoint.monitor, math.nan)


@dataclass(frozen=True)
class Assembled:
    """What a configuration stands for, built: all that a step needs. `started`: the state is to be restored.

    `flops`, of an image, and `peak`, of the device: None where they are not known. `doubt`: of its batch statistics.
    `class_weights`: of a loss that wanted them worked out.
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


def assemble(
    config: DictConfig,
    run_dir: Path,
    data: ImageData,
    settings: Settings,
    *,
    steps_per_epoch: float | None = None,
    class_weights: Sequence[float] | None = None,
    from_the_beginning: bool = False,
    download: bool = False,
) -> Assembled:
    """Build what `config` describes. `steps_per_epoch`, of the schedule, and `class_weights`, of the loss: those with
    which a run began; `from_the_beginning`: not to be restored, whatever has been saved; `download`: whether init_from
    may be fetched."""
    # What is cheap comes first: a large model should not be built for a mistake in what comes after it.
    augment: Augment = build(config.augment, "augment")
    if is_main():
        say(*data.notes)
        say(*_notes_on_sizes(data, augment))
    if config.task == "segment":
        say_doubts(data)
    example = _try_first_sample(config, data, augment)
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
    if config.task != "segment" and any(isinstance(each, DenseProbe) for each in evaluators.values()):
        say_doubts(data, training=False)
    callbacks = Callbacks(_callbacks(config, settings, evaluators))
    seen = look_at_validation(data, config.paths.output_root) if evaluators else None
    if is_main():
        say(*unseen_note(seen, data))
    checkpoints: Checkpoints = complete("checkpoint", build(config.checkpoint, "checkpoint"), run_dir / "checkpoints")
    started = config.resume != "never" and checkpoints.exist and not from_the_beginning
    begins = config.init_from and not started
    given = read_checkpoint(config.init_from, download=download, of_any=True) if begins else None
    if given is not None and is_main():
        _compare_ranges(given, data)

    seed_device(config.seed, "init")
    model: nn.Module = expect("model", build(config.model, "model"), OWED["model"])
    doubt = doubtful_statistics(model, cut, settings.batch_norm)
    weights = give_class_weights(model, data, class_weights)
    if given is not None:
        transfer(model, given, config.init_adapt, data.class_names).show()
    elif not started:
        warn_of_random_encoder(model, config.name)
    for evaluator in evaluators.values():
        evaluator.check(model)
    for size in seen.sizes if seen is not None and config.task == "segment" else ():
        inference.check(model, size)
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
        cut, stream, schedule, evaluators, checkpoints, started, given, state, forward, flops, peak, doubt, weights
    )


def _train(
    config: DictConfig,
    plain: Mapping[str, Any],
    run_dir: Path,
    data: ImageData,
    settings: Settings,
    start: Start | None,
) -> dict[str, float]:
    trained = broadcast_object(what_was_trained(run_dir) if is_main() and config.resume != "never" else None)
    facts = facts_of(config, data) if is_main() else {}
    facts["range"] = data.pixel_range and data.pixel_range.pairs()
    other_scores = trained is not None and _compare(config, plain, run_dir, trained, facts)
    told = (trained.data if trained is not None else None) or {}
    before, weights = told.get("steps_per_epoch"), told.get("class_weights")
    made = assemble(config, run_dir, data, settings, steps_per_epoch=before, class_weights=weights, download=True)
    facts["steps_per_epoch"] = before or made.stream.steps_per_epoch
    facts["class_weights"] = made.class_weights
    state, schedule, checkpoints = made.state, made.schedule, made.checkpoints
    if made.started:
        checkpoints.restore(state)
    if other_scores:
        checkpoints.best = None

    chosen = [
        expect(f"logger.{n}", build(x, f"logger.{n}"), OWED["logger"]) for n, x in nodes_of(config, "logger").items()
    ]
    files = LocalFiles()
    tracker: Tracker = Trackers(chosen, own=[files, Console(total_steps=schedule.steps)])
    if made.flops is not None and made.peak is not None:
        tracker = Utilisation(tracker, flops_per_image=made.flops, peak_tflops=made.peak, devices=world_size())
    for row in describe_groups(state.optimizer):
        log.info("parameter group %s", row)
    origin: dict[str, Any] = {}
    if is_main():  # it writes the checkpoints
        if start is not None:
            start.write(run_dir)
        if not made.started:
            write_json(run_dir / "parent.json", None if made.given is None else parent_of(made.given))
        origin = origin_of(run_dir, data, config.seed)
        for split in ("train", "validation"):
            facts[split] |= origin["data"][split]
        origin["data"] = facts
        write_json(run_dir / "data.json", facts)
        note_start(run_dir, state.step, settings, facts)
        _introduce(config.name, state.model, data, settings, made.cut, schedule.steps, state.step, run_dir)
        if made.doubt is not None:
            warn([made.doubt], "note")
    results = fit(
        state,
        made.forward,
        made.stream,
        schedule,
        made.evaluators,
        checkpoints,
        tracker,
        settings,
        cut=made.cut,
        seed=config.seed,
        run_dir=run_dir,
        config=plain,
        meta={"class_names": list(data.class_names), "palette": data.palette.tolist(), "origin": origin},
    )
    if is_main() and state.step < schedule.steps:
        say(f"ended after step {state.step} of {schedule.steps}: {state.callbacks.ended}")
    if files.missing:
        raise UserError(f"trained to the end, but {files.missing}")
    return results


def _callbacks(config: DictConfig, settings: Settings, evaluators: Mapping[str, Evaluator]) -> dict[str, Callback]:
    """By the key of each; early stopping is one of them."""
    built = {f"callbacks.{name}": node for name, node in nodes_of(config, "callbacks").items()}
    callbacks: dict[str, Callback] = {k: expect(k, build(node, k), OWED["callbacks"]) for k, node in built.items()}
    if settings.stop_after is not None:
        if not evaluators:
            raise UserError("engine.stop_after counts evaluations, and this run has none; choose an evaluation=")
        stopping = EarlyStopping(monitor=config.checkpoint.monitor, patience=settings.stop_after)
        callbacks["engine.stop_after"] = stopping
    return callbacks


def _compare(
    config: DictConfig, plain: Mapping[str, Any], run_dir: Path, trained: Trained, facts: Mapping[str, Any]
) -> bool:
    """Say which images are others than those that were trained on; Refused, in all processes, where they must not be.

    Whether scores from here on are of something else than those before.
    """
    found: tuple[str | None, str, bool] = (None, "", False)
    if is_main():
        allowed, before = config.resume_data == "changed", trained.data or {}
        try:
            if config.task != "pretrain":
                refuse_other_classes(run_dir, before, facts)
            refuse_another_range(run_dir, before, facts)
            said = refuse_other_images(run_dir, before, facts, allowed) if before else ""
            found = (None, said, differ(before, facts, "validation") or scores_differ(plain, trained))
        except Refused as error:
            found = (str(error), "", False)
    refusal, said, other_scores = broadcast_object(found)
    if refusal is not None:
        raise Refused(refusal)
    if said and is_main():
        said = f"goes on with {said}" + ("; best.pt is chosen anew from here on" if other_scores else "")
        say(said)
    return bool(other_scores)


def _introduce(
    name: str, model: nn.Module, data: ImageData, settings: Settings, cut: Cut, steps: int, start: int, run_dir: Path
) -> None:
    """What is about to happen, in three lines."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    height, width = data.image_size
    lines = [
        f"{name}: {parameters / 1e6:.1f} M parameters on {settings.torch_device} in {settings.resolved_precision}; "
        f"{len(data.train)} training and {len(data.validation)} validation images, {height}x{width}",
        f"{steps} steps of {settings.global_batch} images"
        + (
            f" (micro-batches of {cut.micro_batch}, {cut.world_size} processes)"
            if cut.accumulate * cut.world_size > 1
            else ""
        )
        + (f", from step {start}" if start else ""),
        f"everything goes to {run_dir}",
    ]
    say(*lines)


def _notes_on_sizes(data: ImageData, augment: Augment) -> list[str]:
    """What the augmentation says of the sizes of some training pictures, by their headers."""
    headers, notes_on = some_headers(data.train), getattr(augment, "notes_on", None)
    return [] if notes_on is None else notes_on([header.size for header in headers])


def _compare_ranges(given: Checkpoint, data: ImageData) -> None:
    before = recorded_range(given.meta)
    if before is not None and data.pixel_range is not None and before != data.pixel_range:
        say(
            f"note: the weights of init_from were trained with data.range={before}, this run has {data.pixel_range}; "
            "where the files hold the same quantity set data.range to the former"
        )


def say(*lines: str) -> None:
    """On the screen and in train.log."""
    for line in lines:
        log.info(line)
        print(line, flush=True)


def discard_empty(run_dir: Path) -> None:
    """Remove a directory that Hydra made for a run that never began; one that was there before holds more."""
    log_file = run_dir / "train.log"
    if {path.name for path in run_dir.iterdir()} == {log_file.name} and log_file.stat().st_size == 0:
        log_file.unlink()
        run_dir.rmdir()


def _shared(run_dir: Path) -> Path:
    """The main process's directory: under torchrun every process composed one of its own."""
    shared = Path(broadcast_object(str(run_dir.absolute())))
    if shared != run_dir.absolute():
        discard_empty(run_dir)
    return shared


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


def _try_first_sample(config: DictConfig, data: ImageData, augment: Augment) -> Batch:
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
