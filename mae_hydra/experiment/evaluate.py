"""Evaluating a checkpoint on any data, with any inference: exact, resumable, over any number of processes."""

import json
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from mae_hydra.data import EvalStream, ImageData, Sample
from mae_hydra.distributed import barrier, broadcast_object, is_main, rank, session, world_size
from mae_hydra.engine import Settings
from mae_hydra.errors import UserError
from mae_hydra.evaluation import MeanIoU
from mae_hydra.evaluation.held_out import spread
from mae_hydra.evaluation.tally import Entry, Tally
from mae_hydra.experiment import entry
from mae_hydra.experiment.construct import build, complete, evaluator_nodes
from mae_hydra.experiment.evaluation_plan import Plan, default_folder, plan_evaluation
from mae_hydra.experiment.evaluation_report import EvaluationReport, write_report
from mae_hydra.experiment.provenance import environment
from mae_hydra.experiment.status import write_json

Samples = list[tuple[int, Sample]]


def evaluate(path: Path, overrides: Sequence[str], out: Path | None, prefer: str = "best") -> dict[str, Any]:
    """Evaluate the checkpoint at `path`; returns what `results.json` of the evaluation's directory holds.

    The same call again goes on where an earlier one stopped, or gives its results. `out`: where to write; by default
    below the run, or below outputs/evaluations for a file.
    """
    plan = plan_evaluation(path, overrides, prefer)
    data: ImageData = build(plan.config.data, "data")
    settings: Settings = build(plan.config.engine, "engine")
    settings.check_world(world_size())
    settings.apply()
    with session(settings.torch_device):
        folder = Path(broadcast_object(str(out or default_folder(plan))))
        finished = _look_back(folder, plan)
        if finished is not None:
            return finished
        if is_main():
            print(*data.notes, sep="\n", end="\n" if data.notes else "", flush=True)
        # Of a file that tells no normalisation ImageNet's is taken, or what is given here.
        tells = "config" in plan.checkpoint.meta
        given = [] if tells else [each for each in overrides if each.startswith(("data.mean=", "data.std="))]
        model = entry.model_from(plan.checkpoint, *given)
        model.to(settings.torch_device)
        with torch.no_grad(), settings.autocast():
            results = _evaluate(plan, data, model, folder)
        barrier()
    return results


def _look_back(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """The results of an evaluation that is complete; UserError where the folder belongs to another one."""
    mark = folder / "fingerprint.json"
    known = json.loads(mark.read_text())["fingerprint"] if mark.is_file() else None
    occupied = folder.is_dir() and any(folder.iterdir())
    barrier()  # nobody writes before everybody has looked
    if known is None:
        if occupied:
            raise UserError(f"{folder} is not empty and holds no evaluation; give another folder with --out")
        if is_main():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(mark, {"fingerprint": plan.fingerprint})
        barrier()
        return None
    if known != plan.fingerprint:
        raise UserError(
            f"{folder} holds an evaluation of other weights or other settings; give another folder with --out, "
            "or remove it"
        )
    results = folder / "results.json"
    if not results.is_file():
        return None
    found = json.loads(results.read_text())
    return {**found, "already_complete": True}


def _evaluate(plan: Plan, data: ImageData, model: nn.Module, folder: Path) -> dict[str, Any]:
    inference = build(plan.config.inference, "inference")
    results: dict[str, Any] = {}
    nodes = evaluator_nodes(plan.config)
    several = len(nodes) > 1
    for name, node in nodes.items():
        place = folder / name if several else folder
        evaluator = complete(f"evaluation.{name}", build(node, f"evaluation.{name}"), data=data, inference=inference)
        if isinstance(evaluator, MeanIoU):
            _check_classes(model, data)
        evaluator.check(model)
        began = time.time()
        if isinstance(evaluator, MeanIoU):
            counted = _count_images(node, data, evaluator, model, place / "counts")
            report = EvaluationReport.of_tally(Tally(place / "counts", rank(), data.num_classes), data)
            images = len(report.images)
        else:
            evaluator.held_out.watch = _with_a_bar
            report = EvaluationReport.of_evaluation(evaluator.run(model, int(plan.checkpoint.meta.get("step", 0))))
            images = counted = min(len(data.validation), node.limit or len(data.validation))
        seconds = time.time() - began
        if is_main():
            write_report(report, data, evaluator, model, place)
            results |= {f"{name}/{key}" if several else key: value for key, value in report.scalars.items()}
            results |= {"images": images, "protocol": _protocol(plan, seconds, counted), "folder": str(folder)}
    if is_main():
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(plan.config, resolve=False))
        write_json(folder / "results.json", results)  # last: it says that the evaluation is complete
    return results


def _count_images(node: DictConfig, data: ImageData, evaluator: MeanIoU, model: Any, folder: Path) -> int:
    """Count what is not yet counted; returns how many images that was, over all processes."""
    tally = Tally(folder, rank(), data.num_classes)
    barrier()
    done = {each.number for each in tally.entries()}
    barrier()  # all have read before anyone adds
    wanted = spread(range(len(data.validation)), node.limit)
    missing = [index for index in wanted if index not in done]
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
        tally.add(Entry(index, sample.name, counts.confusions, counts.boundaries))
    barrier()
    return len(missing)


def _predicted(
    stream: EvalStream, evaluator: MeanIoU, model: Any, share: int
) -> Iterator[tuple[int, Sample, torch.Tensor]]:
    for samples in _with_a_bar(stream, share):
        predictions = evaluator.inference.predict(model, [sample.image for _, sample in samples])
        for (index, sample), prediction in zip(samples, predictions, strict=True):
            yield index, sample, prediction


def _with_a_bar(batches: Iterable[Samples], total: int) -> Iterator[Samples]:
    """The same batches, of `total` images together, and how far they are."""
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not watched()) as progress:
        task = progress.add_task("", total=total)
        for samples in batches:
            yield samples
            progress.advance(task, len(samples))


def watched() -> bool:
    """Whether a progress bar is drawn: by the main process, where a person looks at a terminal."""
    return is_main() and sys.stdout.isatty()


def _check_classes(model: Any, data: ImageData) -> None:
    if data.target == "map" and model.num_classes != data.num_classes:
        raise UserError(
            f"the model knows {model.num_classes} classes, the data have {data.num_classes}; use the data set it was "
            f"trained on (data=…), or data.num_classes={model.num_classes} where the labels are the same"
        )


def _protocol(plan: Plan, seconds: float, counted: int) -> dict[str, Any]:
    """All that a reader of the numbers needs to repeat them; times are of the `counted` images of this call."""
    config = OmegaConf.to_container(plan.config, resolve=True)
    assert isinstance(config, dict)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    accelerator = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {
        "checkpoint": str(plan.checkpoint.path),
        "sha256": plan.weights,
        "layout": plan.checkpoint.layout,
        "step": plan.checkpoint.meta.get("step"),
        "fingerprint": plan.fingerprint,
        "inference": config["inference"],
        "data": config["data"],
        "precision": config["engine"]["precision"],
        "processes": world_size(),
        "images_counted": counted,
        "seconds": seconds,
        "images_per_second": counted / seconds if seconds > 0 else None,
        "peak_memory_bytes": {"host": peak, "accelerator": accelerator},
        "environment": environment(),
    }
