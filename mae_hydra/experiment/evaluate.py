"""Evaluating a checkpoint on any data, with any inference: exact, resumable, over any number of processes."""

import hashlib
import json
import re
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
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
from mae_hydra.experiment.check import check
from mae_hydra.experiment.compose import compose_config
from mae_hydra.experiment.construct import build, complete
from mae_hydra.experiment.evaluation_report import EvaluationReport, write_report
from mae_hydra.experiment.identify import overrides_of
from mae_hydra.experiment.provenance import environment
from mae_hydra.experiment.status import write_json
from mae_hydra.weights import Checkpoint, describe, read_checkpoint

NOT_OF_AN_EVALUATION = re.compile(r"[+~]{0,2}(hydra\.|init_from|init_adapt|resume|logger|sweep|debug)")
BY_THE_CHECKPOINT = ("model", "backbone", "head")


@dataclass(frozen=True)
class Plan:
    """What is evaluated: a composed configuration, and a fingerprint of all in it that decides the result."""

    checkpoint: Checkpoint
    config: DictConfig
    weights: str  # sha256 of the file
    fingerprint: str
    name: str


def evaluate(path: Path, overrides: Sequence[str], out: Path | None, prefer: str = "best") -> dict[str, Any]:
    """Evaluate the checkpoint at `path`; returns what `results.json` of the evaluation's directory holds.

    The same call again goes on where an earlier one stopped, or gives its results. `out`: where to write; by default
    below the run, or below outputs/evaluations for a file.
    """
    plan = _plan(path, overrides, prefer)
    data: ImageData = build(plan.config.data, "data")
    settings: Settings = build(plan.config.engine, "engine")
    settings.check_world(world_size())
    settings.apply()
    with session(settings.torch_device):
        folder = Path(broadcast_object(str(out or _default_folder(path, plan))))
        finished = _look_back(folder, plan)
        if finished is not None:
            return finished
        # Of a file that tells no normalisation ImageNet's is taken, or what is given here.
        tells = "config" in plan.checkpoint.meta
        given = [] if tells else [each for each in overrides if each.startswith(("data.mean=", "data.std="))]
        model = entry.model_from(plan.checkpoint, *given)
        model.to(settings.torch_device)
        with torch.no_grad(), settings.autocast():
            results = _evaluate(plan, data, model, folder)
        barrier()
    return results


def _plan(path: Path, overrides: Sequence[str], prefer: str) -> Plan:
    checkpoint = read_checkpoint(path, prefer="best" if prefer == "best" else "last")
    if checkpoint.kind not in ("mae", "segmentation"):
        raise UserError(f"{path} holds {checkpoint.kind} weights; evaluate takes a masked autoencoder or a UPerNet")
    taken = [o for o in overrides if o.lstrip("+").split("=")[0].split(".")[0] in BY_THE_CHECKPOINT]
    if taken:
        raise UserError(f"{taken[0]} cannot be changed here: the model comes from the checkpoint")
    config = compose_config(command_line(path, checkpoint, overrides))
    check(config)
    if not config.evaluation:
        raise UserError(
            "there is nothing to evaluate: evaluation is none; add evaluation=segment or evaluation=pretrain"
        )
    weights = _digest(checkpoint.path)
    decisive = {
        "weights": weights,
        "data": OmegaConf.to_container(config.data, resolve=True),
        "inference": OmegaConf.to_container(config.inference, resolve=True),
        "evaluation": OmegaConf.to_container(config.evaluation, resolve=True),
        "precision": config.engine.precision,
    }
    for free in ("num_workers", "batch_size"):
        decisive["data"].pop(free, None)
    if decisive["data"].get("root"):  # two sets of the same layout are two evaluations
        decisive["data"]["root"] = str(Path(decisive["data"]["root"]).expanduser().resolve())
    for node in decisive["evaluation"].values():
        for free in ("num_workers", "batch_size", "num_pictures", "every"):
            node.pop(free, None)
    fingerprint = hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()
    words = [str(config[group]["_target_"]).rpartition(".")[2].lower() for group in ("data", "inference")]
    return Plan(checkpoint, config, weights, fingerprint, f"{'-'.join(words)}-{fingerprint[:6]}")


def command_line(path: Path, checkpoint: Checkpoint, overrides: Sequence[str]) -> list[str]:
    """The run's own overrides, or those that the weights imply, then the new ones in their place."""
    recorded = _recorded(path, checkpoint)
    other_data = any(override.startswith("data=") for override in overrides)
    base = overrides_of(checkpoint) if recorded is None or other_data else recorded
    replaced = {override.lstrip("+~").partition("=")[0] for override in overrides}
    kept = [
        override
        for override in base
        if override != "evaluation=none"
        and not NOT_OF_AN_EVALUATION.match(override)
        and not _is_replaced(override.lstrip("+~"), replaced)
    ]
    if other_data and "data.image_size" not in replaced:
        size = _image_size(checkpoint)
        kept = [override for override in kept if not override.startswith("data.")]
        kept.append(f"data.image_size={size}".replace(" ", ""))
    if "data.batch_size" not in replaced and recorded is None:
        kept.append("data.batch_size=1")
    return [*kept, *overrides]


def _image_size(checkpoint: Checkpoint) -> list[int]:
    size = describe(checkpoint).image_size
    if size is None:
        raise UserError(f"{checkpoint.path} does not tell its image size; add data.image_size=[height,width]")
    return list(size)


def _is_replaced(override: str, replaced: set[str]) -> bool:
    """An earlier override of the same key, or of a key below a group that is now chosen anew."""
    key = override.partition("=")[0]
    return key in replaced or key.split(".")[0] in replaced


def _recorded(path: Path, checkpoint: Checkpoint) -> list[str] | None:
    file = checkpoint.path.parent.parent / "overrides.yaml"
    if checkpoint.path.parent.name != "checkpoints" or not file.is_file():
        return None
    content = yaml.safe_load(file.read_text())
    return [str(each) for each in content] if isinstance(content, list) else None


def _digest(file: Path) -> str:
    files = sorted(file.iterdir()) if file.is_dir() else [file]
    total = hashlib.sha256()
    for each in files:
        with open(each, "rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _default_folder(path: Path, plan: Plan) -> Path:
    of_a_run = plan.checkpoint.path.parent.name == "checkpoints"
    root = plan.checkpoint.path.parent.parent if of_a_run else Path(plan.config.paths.output_root)
    name = plan.name if of_a_run else f"{plan.checkpoint.path.stem}-{plan.name}"
    return root / "evaluations" / name


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
    several = len(plan.config.evaluation) > 1
    for name, node in plan.config.evaluation.items():
        place = folder / str(name) if several else folder
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
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not watched()) as progress:
        task = progress.add_task("", total=share)
        for samples in stream:
            predictions = evaluator.inference.predict(model, [sample.image for _, sample in samples])
            for (index, sample), prediction in zip(samples, predictions, strict=True):
                yield index, sample, prediction
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
