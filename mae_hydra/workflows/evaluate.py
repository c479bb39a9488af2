"""Evaluating a checkpoint on any data, with any inference: exact, resumable, over any number of processes."""

import resource
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from mae_hydra import atomic
from mae_hydra.configuration.interpolations import resolved
from mae_hydra.data import EvalStream, ImageData, Sample
from mae_hydra.distributed import barrier, broadcast_object, is_main, rank, session, world_size
from mae_hydra.engine import Settings
from mae_hydra.evaluation.resumable_counts import Entry, Tally
from mae_hydra.experiment.labels import match_classes, named_by, say_doubts
from mae_hydra.experiment.provenance import environment
from mae_hydra.experiment.status import write_json
from mae_hydra.terminal import watched
from mae_hydra.types import answers
from mae_hydra.workflows import entry
from mae_hydra.workflows.evaluation_folder import Work, data_digest, look_back, tell, work_on
from mae_hydra.workflows.evaluation_plan import Plan, default_folder, of_split, plan_evaluation
from mae_hydra.workflows.evaluation_report import EvaluationReport, write_report

CLASSIFYING = {"pixels", "images"}  # models whose classes have names
LEFT_OUT = ("~model.", "~backbone.", "~head.")
OF_THE_MODEL = ("data.mean=", "data.std=", "data.image_size=")  # what a released file may not tell
Samples = list[tuple[int, Sample]]


def evaluate(
    path: str | Path, overrides: Sequence[str], out: Path | None, prefer: str = "best", more: Sequence[Path] = ()
) -> dict[str, Any]:
    """Evaluate the checkpoint at `path`; returns what `results.json` of the evaluation's directory holds.

    The same call again goes on where an earlier one stopped, or gives its results; what has changed of the data since
    is counted anew. `out`: where to write; by default below the run, or below outputs/evaluations for a file. `more`:
    folders with option files of one's own.
    """
    plan = plan_evaluation(path, overrides, prefer, more)
    data: ImageData = of_split(named_by(plan.checkpoint, plan.build("data")), plan)
    tell([_taken(plan), *_notes(plan, data), *(f"{key} is {change}" for key, change in plan.changes.items())])
    settings: Settings = plan.build("engine")
    settings.check_world(world_size())
    settings.apply()
    with session(settings.torch_device):
        folder = Path(broadcast_object(str(out or default_folder(plan))))
        work = work_on(plan, data)
        finished = look_back(folder, plan, work, data)
        if finished is not None:
            return finished
        if is_main():
            print(*data.notes, sep="\n", end="\n" if data.notes else "", flush=True)
        # Of a file that tells no normalisation ImageNet's is taken, or what is given here.
        given = LEFT_OUT if "config" in plan.checkpoint.meta else (*LEFT_OUT, *OF_THE_MODEL)
        model = entry.model_from(plan.checkpoint, *(each for each in overrides if each.startswith(given)))
        model.to(settings.torch_device)
        with torch.no_grad(), settings.autocast():
            results = _evaluate(plan, data, model, work, settings, folder)
        barrier()
    return results


def _taken(plan: Plan) -> str:
    step = plan.checkpoint.meta.get("step")
    return f"evaluating {plan.checkpoint.path}{'' if step is None else f', step {step}'}"


def _notes(plan: Plan, data: ImageData) -> list[str]:
    images = len(data.validation)
    lifted = [
        f"all {images} images are evaluated; {key}={limit} was the training's"
        for key, limit in plan.lifted.items()
        if limit < images
    ]
    return [*plan.notes, *lifted]


def _evaluate(
    plan: Plan, data: ImageData, model: nn.Module, work: Mapping[str, Work], settings: Settings, folder: Path
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    several = len(work) > 1
    # An evaluator of another kind refuses the model itself, for what it is.
    with_classes = {answers(model)} if hasattr(model, "answers") else CLASSIFYING
    if any(getattr(each.evaluator, "judges", None) in with_classes & CLASSIFYING for each in work.values()):
        match_classes(model, plan.checkpoint, data)
    for name, each in work.items():
        node, evaluator = plan.config.evaluation[name], each.evaluator
        place = folder / name if several else folder
        counted_singly = getattr(evaluator, "counts_confusions", False)
        if getattr(evaluator, "judges", None) == "pixels":
            say_doubts(data, training=False)  # before a single map is refused without a word on all of them
        evaluator.check(model)
        began = time.time()
        if counted_singly:
            numbers = dict(zip(each.stamps, evaluator.held_out.indices, strict=True))
            counted = _count_images(node, data, evaluator, model, numbers, place / "counts")
            report = EvaluationReport.of_tally(Tally(place / "counts", rank(), data.num_classes), data, numbers)
            images = len(report.images)
        else:
            if hasattr(evaluator, "held_out"):
                evaluator.held_out.watch = _with_a_bar
            report = EvaluationReport.of_evaluation(evaluator.run(model, int(plan.checkpoint.meta.get("step", 0))))
            images = counted = min(len(data.validation), node.get("limit") or len(data.validation))
        seconds = time.time() - began
        if is_main():
            write_report(report, data, evaluator, model, place)
            results |= {f"{name}/{key}" if several else key: value for key, value in report.scalars.items()}
            results |= {"images": images, "protocol": _protocol(plan, data, work, settings, seconds, counted)}
            results |= {"folder": str(folder)}
    if is_main():
        text = yaml.safe_dump(resolved(plan.config), sort_keys=False, allow_unicode=True)
        atomic.write_text(folder / "config.yaml", text)
        write_json(folder / "results.json", results)  # last: it says that the evaluation is complete
    return results


def _count_images(
    node: DictConfig, data: ImageData, evaluator: Any, model: Any, numbers: Mapping[str, int], folder: Path
) -> int:
    """Count what of `numbers` (stamp -> position) is not yet counted; returns how many images that was, over all
    processes."""
    tally = Tally(folder, rank(), data.num_classes)
    barrier()
    done = {each.stamp for each in tally.entries()}
    barrier()  # all have read before anyone adds
    stamps = {index: stamp for stamp, index in numbers.items() if stamp not in done}
    missing = list(stamps)
    stream = EvalStream(
        data.validation,
        None,
        batch_size=node.batch_size,
        num_workers=node.num_workers,
        rank=rank(),
        world_size=world_size(),
        indices=missing,
    )
    share = len(missing[rank() :: world_size()])
    for index, sample, prediction in _predicted(stream, evaluator, model, share):
        counts = evaluator.count(prediction, sample)
        tally.add(Entry(stamps[index], sample.name, counts.confusions, counts.boundaries))
    tally.finish()
    barrier()
    return len(missing)


def _predicted(
    stream: EvalStream, evaluator: Any, model: Any, share: int
) -> Iterator[tuple[int, Sample, torch.Tensor]]:
    for samples in _with_a_bar(stream, share):
        predictions = evaluator.inference.predict(model, [sample.image for _, sample in samples])
        for (index, sample), prediction in zip(samples, predictions, strict=True):
            yield index, sample, prediction


def _with_a_bar(batches: Iterable[Samples], total: int) -> Iterator[Samples]:
    """Yield the same batches, of `total` images together, with a progress bar."""
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not watched()) as progress:
        task = progress.add_task("", total=total)
        for samples in batches:
            yield samples
            progress.advance(task, len(samples))


def _protocol(
    plan: Plan, data: ImageData, work: Mapping[str, Work], settings: Settings, seconds: float, counted: int
) -> dict[str, Any]:
    """All that a reader of the numbers needs to repeat them; times are of the `counted` images of this call."""
    config = resolved(plan.config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    accelerator = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {
        "checkpoint": str(plan.checkpoint.path),
        **({"name": plan.checkpoint.name, "revision": plan.checkpoint.revision} if plan.checkpoint.name else {}),
        "sha256": plan.weights,
        "sha256_of": "(cd checkpoint; sha256sum * | sha256sum)" if plan.checkpoint.path.is_dir() else "the file",
        "layout": plan.checkpoint.layout,
        "step": plan.checkpoint.meta.get("step"),
        "fingerprint": plan.fingerprint,
        "differs_from_training": {key: change._asdict() for key, change in plan.changes.items()},
        "notes": _notes(plan, data),
        "inference": config["inference"],
        "data": config["data"],
        "data_sha256": data_digest(work, data),
        "split": plan.split,
        "validation_images": len(data.validation),
        "evaluation": config["evaluation"],
        "precision": settings.resolved_precision,
        "processes": world_size(),
        "images_counted": counted,
        "seconds": seconds,
        "images_per_second": counted / seconds if seconds > 0 else None,
        "peak_memory_bytes": {"host": peak, "accelerator": accelerator},
        "environment": environment(),
    }
