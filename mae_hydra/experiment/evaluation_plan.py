"""What an evaluation evaluates: the checkpoint's own command line with the new words in it, and its fingerprint."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment.check import check
from mae_hydra.experiment.compose import compose_config
from mae_hydra.experiment.construct import evaluator_nodes
from mae_hydra.experiment.identify import overrides_of
from mae_hydra.experiment.recorded_range import use_recorded_range
from mae_hydra.weights import Checkpoint, describe, read_checkpoint

NOT_OF_AN_EVALUATION = re.compile(r"[+~]{0,2}(hydra\.|init_from|engine\.devices|init_adapt|resume|logger|sweep|debug)")
BY_THE_CHECKPOINT = ("model", "backbone", "head")


@dataclass(frozen=True)
class Plan:
    """What is evaluated: a composed configuration, and a fingerprint of all in it that decides the result."""

    checkpoint: Checkpoint
    config: DictConfig
    weights: str  # sha256 of the file
    fingerprint: str
    name: str


def plan_evaluation(path: Path, overrides: Sequence[str], prefer: str) -> Plan:
    """UserError where the checkpoint cannot be evaluated, or what is wanted of it makes no sense."""
    checkpoint = read_checkpoint(path, prefer="best" if prefer == "best" else "last")
    taken = [o for o in overrides if o.lstrip("+").split("=")[0].split(".")[0] in BY_THE_CHECKPOINT]
    if taken:
        raise UserError(f"{taken[0]} cannot be changed here: the model comes from the checkpoint")
    config = compose_config(command_line(checkpoint, overrides))
    check(config)
    use_recorded_range(config.data, checkpoint.meta)
    if not evaluator_nodes(config):
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
    # A classifier has no way of looking at a picture: its `inference` is empty.
    built = [config[group].get("_target_") for group in ("data", "inference")]
    words = [str(target).rpartition(".")[2].lower() for target in built if target is not None]
    return Plan(checkpoint, config, weights, fingerprint, f"{'-'.join(words)}-{fingerprint[:6]}")


def command_line(checkpoint: Checkpoint, overrides: Sequence[str]) -> list[str]:
    """The run's own overrides, or those that the weights imply, then the new ones in their place."""
    recorded = _recorded(checkpoint)
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


def _recorded(checkpoint: Checkpoint) -> list[str] | None:
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


def default_folder(plan: Plan) -> Path:
    of_a_run = plan.checkpoint.path.parent.name == "checkpoints"
    root = plan.checkpoint.path.parent.parent if of_a_run else Path(plan.config.paths.output_root)
    name = plan.name if of_a_run else f"{plan.checkpoint.path.stem}-{plan.name}"
    return root / "evaluations" / name
