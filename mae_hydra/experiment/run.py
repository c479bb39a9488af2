"""The composition root: the whole story of a run, read from top to bottom."""

import logging
import math
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from mae_hydra import products
from mae_hydra.configuration.construct import build, expect, nodes_of
from mae_hydra.data import ImageData
from mae_hydra.distributed import broadcast_object, is_main, rank, session, world_size
from mae_hydra.engine import Cut, Settings, fit
from mae_hydra.errors import UserError
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.experiment.assemble import OWED, Assembled, assemble
from mae_hydra.experiment.doubts import MissingMonitor
from mae_hydra.experiment.holder import Refused
from mae_hydra.experiment.messages import say, warn
from mae_hydra.experiment.provenance import origin_of, parent_of
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
from mae_hydra.experiment.start import Start, discard_empty
from mae_hydra.experiment.status import Ending, write_json
from mae_hydra.experiment.steps_taken import note_start
from mae_hydra.optim import describe_groups
from mae_hydra.precision import note_of
from mae_hydra.tracking import Console, LocalFiles, Trackers, Utilisation
from mae_hydra.types import Tracker

log = logging.getLogger("mae_hydra")


def run(
    config: DictConfig, plain: Mapping[str, Any], run_dir: Path, start: Start | None = None, *, telling: bool = True
) -> Ending:
    """Train what `config` describes in `run_dir`; returns the monitored metric, and what ended it early.

    `plain` is the same configuration, resolved, as a dictionary. `start`: what the main process writes down before the
    first step, once nothing speaks against it. `telling`: processes after the first one say themselves what went wrong
    in them, because nobody else will.
    """
    # First: a missing data set is the commonest mistake.
    data: ImageData = expect("data", build(config.data, "data"), OWED["data"])
    settings: Settings = build(config.engine, "engine")
    settings.check_world(world_size())
    settings.apply()
    with session(settings.torch_device):
        run_dir = _shared(run_dir)
        try:
            return _train(config, plain, run_dir, data, settings, start)
        except Exception as error:
            if telling and not is_main():
                print(f"error in process {rank()}: {error}", file=sys.stderr)  # first: the disk may be full
                with suppress(OSError):
                    (run_dir / f"error.rank{rank()}.txt").write_text(traceback.format_exc())
            raise


def _train(
    config: DictConfig,
    plain: Mapping[str, Any],
    run_dir: Path,
    data: ImageData,
    settings: Settings,
    start: Start | None,
) -> Ending:
    trained = broadcast_object(what_was_trained(run_dir) if is_main() and config.resume != "never" else None)
    facts = facts_of(config, data) if is_main() else {}
    facts["range"] = data.pixel_range and data.pixel_range.pairs()
    other_scores = trained is not None and _compare_images(config, plain, run_dir, trained, facts)
    recorded = (trained.data if trained is not None else None) or {}
    steps_per_epoch, class_weights = recorded.get("steps_per_epoch"), recorded.get("class_weights")
    # Runs from before it was recorded went by the device alone.
    precision = recorded.get("precision") or (None if trained is None else settings.resolved_precision)
    library = recorded.get("products") or (products.taken() if trained is None else "torch")
    products.take(broadcast_object(library))  # every process rounds alike, and each later one as the first
    built = assemble(
        config,
        run_dir,
        data,
        settings,
        steps_per_epoch=steps_per_epoch,
        class_weights=class_weights,
        precision=precision,
        download=True,
    )
    asked, settings = settings.precision, built.settings
    facts["steps_per_epoch"] = steps_per_epoch or built.stream.steps_per_epoch
    facts |= {"class_weights": built.class_weights, "precision": settings.precision}
    facts["products"] = products.taken()
    log.info("products of matrices in fp32 by %s", products.taken())
    state, schedule, checkpoints = built.state, built.schedule, built.checkpoints
    if built.started:
        checkpoints.restore(state)
    if other_scores:
        checkpoints.best = None

    files = LocalFiles()
    tracker = _trackers(config, files, built)
    for row in describe_groups(state.optimizer):
        log.info("parameter group %s", row)
    origin: dict[str, Any] = {}
    if is_main():  # it writes the checkpoints
        if start is not None:
            start.write(run_dir)
        origin = _record_start(config, run_dir, data, settings, built, facts)
        _introduce(config.name, state.model, data, settings, built.cut, schedule.steps, state.step, run_dir)
        free = () if built.started else state.model.parameters()  # to compute in another precision from here on
        say(*note_of(asked, settings.precision, settings.torch_device.type, "engine.precision=", free))
        if built.doubt is not None:
            warn([built.doubt], "note")
    results = fit(
        state,
        built.forward,
        built.stream,
        schedule,
        built.evaluators,
        checkpoints,
        tracker,
        settings,
        cut=built.cut,
        seed=config.seed,
        run_dir=run_dir,
        config=plain,
        meta={"class_names": list(data.class_names), "palette": data.palette.tolist(), "origin": origin},
    )
    early, pruned = state.step < schedule.steps, state.callbacks.given_up
    why = f"{'pruned at' if pruned else 'ended after'} step {state.step} of {schedule.steps}: {state.callbacks.ended}"
    if early and is_main():
        say(why)
    if files.missing:
        raise UserError(f"trained to the end, but {files.missing}")
    return Ending(results.get(config.checkpoint.monitor, math.nan), why if early else "", early and pruned)


def _trackers(config: DictConfig, files: LocalFiles, built: Assembled) -> Tracker:
    """Build what is told of the run: its own files, the console, and the trackers that were chosen."""
    nodes = {f"logger.{name}": node for name, node in nodes_of(config, "logger").items()}
    chosen = [expect(key, build(node, key), OWED["logger"]) for key, node in nodes.items()]
    console = Console(total_steps=built.schedule.steps)
    monitor = MissingMonitor(config.checkpoint.monitor, built.evaluators)
    tracker: Tracker = Trackers(chosen, own=[files, console, monitor])
    for name, evaluator in built.evaluators.items() if is_main() else ():
        for images in (getattr(evaluator, part, None) for part in ("bank", "held_out")):
            if isinstance(images, HeldOut):
                images.watch = console.watched(name)
    if built.flops is None or built.peak is None:
        return tracker
    return Utilisation(tracker, flops_per_image=built.flops, peak_tflops=built.peak, devices=world_size())


def _record_start(
    config: DictConfig, run_dir: Path, data: ImageData, settings: Settings, built: Assembled, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write down what this start begins from and trains on; give what the checkpoints carry of it."""
    if not built.started:
        write_json(run_dir / "parent.json", None if built.given is None else parent_of(built.given))
    origin = origin_of(run_dir, data, config.seed)
    for split in ("train", "validation"):
        facts[split] |= origin["data"][split]
    origin["data"] = facts
    write_json(run_dir / "data.json", facts)
    note_start(run_dir, built.state.step, settings, facts)
    return origin


def _compare_images(
    config: DictConfig, plain: Mapping[str, Any], run_dir: Path, trained: Trained, facts: Mapping[str, Any]
) -> bool:
    """Say which images are others than those that were trained on; Refused, in all processes, where they must not be.

    Whether scores from here on are of something else than those before.
    """
    outcome: tuple[str | None, str, bool] = (None, "", False)
    if is_main():
        allowed, before = config.resume_data == "changed", trained.data or {}
        try:
            if config.task != "pretrain":
                refuse_other_classes(run_dir, before, facts)
            refuse_another_range(run_dir, before, facts)
            said = refuse_other_images(run_dir, before, facts, allowed) if before else ""
            outcome = (None, said, differ(before, facts, "validation") or scores_differ(plain, trained))
        except Refused as error:
            outcome = (str(error), "", False)
    refusal, said, other_scores = broadcast_object(outcome)
    if refusal is not None:
        raise Refused(refusal)
    if said and is_main():
        said = f"goes on with {said}" + ("; best.pt is chosen anew from here on" if other_scores else "")
        say(said)
    return bool(other_scores)


def _introduce(
    name: str, model: nn.Module, data: ImageData, settings: Settings, cut: Cut, steps: int, start: int, run_dir: Path
) -> None:
    """Say in three lines what is about to happen."""
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


def _shared(run_dir: Path) -> Path:
    """The main process's directory: under torchrun every process composed one of its own."""
    shared = Path(broadcast_object(str(run_dir.absolute())))
    if shared != run_dir.absolute():
        discard_empty(run_dir)
    return shared
