"""What an evaluation evaluates: the recorded configuration with the new words on top, and its fingerprint."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf

from mae_hydra import precision
from mae_hydra.configuration.changes import Change
from mae_hydra.configuration.check import check
from mae_hydra.configuration.construct import build, nodes_of
from mae_hydra.configuration.from_file import check_addresses
from mae_hydra.configuration.key_meaning import meaning_of
from mae_hydra.configuration.option_files import Tree
from mae_hydra.data import ImageData
from mae_hydra.errors import UserError
from mae_hydra.experiment.provenance import sha256_of
from mae_hydra.recorded.configuration import Recorded, recorded, targets_in
from mae_hydra.recorded.pixel_range import use_recorded_range
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.weights.parts import OWN_AVERAGE

BY_THE_CHECKPOINT = ("model", "backbone", "head")
PARTS = ("data", "inference", "evaluation", "engine")
BY_TASK = {"segment": "segment", "classify": "classify", "pretrain": "pretrain"}  # of a run that evaluated nothing
WHOLE = "mae_hydra.inference.Whole"
MEAN_IOU = "mae_hydra.evaluation.MeanIoU"
Split = Literal["validation", "test", "train"]
SPLIT_WORDS = {"validation": "validation", "val": "validation", "test": "test", "train": "train", "training": "train"}
SCENES = ("mae_hydra.data.scenes", "mae_hydra.data.scene_classes")


@dataclass(frozen=True)
class Plan:
    """What is evaluated: a configuration, and a fingerprint of all in it that decides the result.

    `weights`: the SHA-256 of the file (see `sha256_of`). `changes`: what is no longer as in training. `notes`: what a
    person should know, in sentences. `lifted`: limits of the training, by key, which do not hold here. `named`: the
    targets that a person chose. `split`: which part of the data.
    """

    checkpoint: Checkpoint
    config: DictConfig
    weights: str
    fingerprint: str
    name: str
    changes: dict[str, Change] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lifted: dict[str, int] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    split: Split = "validation"

    def build(self, key: str) -> Any:
        """The object of the node at `key`: what a file names is judged as a file's, what was typed as a person's."""
        node = OmegaConf.select(self.config, key)
        by_a_person = targets_in(OmegaConf.to_container(node)) & self.named
        return build(node, key, origin="person" if by_a_person else "file")


def plan_evaluation(path: str | Path, words: Sequence[str], prefer: str, more: Sequence[Path] = ()) -> Plan:
    """UserError where the checkpoint cannot be evaluated, or what is wanted of it makes no sense.

    `words`: overrides, and `split=test` or `split=train`, which is no key of a configuration. `more`: folders with
    option files of one's own.
    """
    split, words = _split_of(words)
    checkpoint = read_checkpoint(path, prefer="best" if prefer == "best" else "last", download=True)
    # What this version does not know of a model (`newer`) may be left out.
    taken = [word for word in words if word.lstrip("+").split("=")[0].split(".")[0] in BY_THE_CHECKPOINT]
    if taken:
        key, _, value = taken[0].lstrip("+~").partition("=")
        way_out = f"; to score at another ratio use inference.mask_ratio={value}" if key == "model.mask_ratio" else ""
        raise UserError(f"{taken[0]} cannot be changed here: the model comes from the checkpoint{way_out}")
    found = recorded(checkpoint, words, PARTS, more)
    if not found.tree.get("evaluation") or not nodes_of(found.config, "evaluation"):
        found = _with_an_evaluation(found, checkpoint, words, more)
    if _takes_other_pictures(found, words):
        found = recorded(checkpoint, ["inference=slide", *words], PARTS, more)
    _refuse_an_idle_size(found)
    if "data.range" not in found.typed:
        use_recorded_range(found.tree["data"], checkpoint.meta, checkpoint.path)
    lifted = _lift_limits(found)
    changes, notes = found.changes(), [*found.notes, *_settle_precision(found, checkpoint)]
    if "engine.devices" not in found.typed:
        found.tree["engine"]["devices"] = 1  # of the training; here torchrun says it
    config = found.config
    for part in PARTS:
        if part in config:
            check(OmegaConf.masked_copy(config, [part]), origin=found.origin(part))
    check_addresses(config, words, str(path))
    weights = sha256_of(checkpoint.path)
    # A classifier has no way of looking at a picture: its `inference` is empty.
    built = [found.tree[group].get("_target_") for group in ("data", "inference")]
    name = [str(target).rpartition(".")[2].lower() for target in built if target is not None]
    fingerprint = _fingerprint(found.tree, weights, checkpoint.part, split)
    name += [] if split == "validation" else [split]
    name.append(fingerprint[:6])
    return Plan(
        checkpoint,
        config,
        weights,
        fingerprint,
        "-".join(name),
        changes,
        notes,
        lifted,
        found.named,
        split,
    )


def of_split(data: ImageData, plan: Plan) -> ImageData:
    """The data with the wanted split in the place of the validation images. UserError where it is not there."""
    if plan.split == "validation":
        return data
    if plan.split == "train":
        return replace(data, validation=data.train, present_classes=None, grouped=False)
    if data.test is None:
        raise UserError(
            f"split=test: {plan.config.data['_target_'].rpartition('.')[2]} has no test split; "
            "data=segmentation and its presets have one"
        )
    return replace(data, validation=data.test(), present_classes=None, grouped=False)


def _split_of(words: Sequence[str]) -> tuple[Split, list[str]]:
    """What `split=` says, and the other words."""
    split: Any = "validation"
    for word in words:
        key, _, value = word.partition("=")
        if key == "split":
            split = SPLIT_WORDS.get(value)
            if split is None:
                raise UserError(f"{word}: the splits are validation, test and train")
    return split, [word for word in words if not word.startswith("split=")]


def _with_an_evaluation(
    found: Recorded, checkpoint: Checkpoint, words: Sequence[str], more: Sequence[Path]
) -> Recorded:
    """Give a run that evaluated nothing what its task is usually evaluated by. UserError where that was not asked."""
    task = BY_TASK.get(str(found.tree.get("task")))
    if task is None or any(word.startswith("evaluation=") for word in words):
        raise UserError(
            "there is nothing to evaluate: evaluation is none; add evaluation=segment or evaluation=pretrain"
        )
    return recorded(checkpoint, [f"evaluation={task}", *words], PARTS, more)


def _takes_other_pictures(found: Recorded, words: Sequence[str]) -> bool:
    """Whether pictures come that may be larger than those which a training looked at whole, and nobody said how."""
    other = {"data.root", "data._target_"} & found.changes().keys()
    said = any(word.lstrip("+").startswith("inference") for word in words)
    return bool(other) and not said and found.tree["inference"].get("_target_") == WHOLE


def _refuse_an_idle_size(found: Recorded) -> None:
    """UserError where data.image_size is typed and decides nothing: pictures of files are judged at their own size."""
    tree = found.tree
    at_their_own_size = all(node["_target_"] == MEAN_IOU for node in nodes_of(found.config, "evaluation").values())
    drawn = str(tree["data"]["_target_"]).startswith(SCENES)  # at that size
    follows = tree["data"].get("image_size") in (tree["inference"].get("crop"), tree["inference"].get("short"))
    if found.record is not None and "data.image_size" in found.typed and at_their_own_size and not (drawn or follows):
        raise UserError(
            "data.image_size would change nothing here: it is what a training crops to, and mean IoU is of pictures at "
            "their own size; leave it out, or say how they are looked at: inference=slide, inference.short=…"
        )


def _settle_precision(found: Recorded, checkpoint: Checkpoint) -> list[str]:
    """Write down the precision where "auto" is not what the device alone would say, and say so."""
    engine = found.tree["engine"]
    kind = "cuda" if engine["device"] != "cpu" and torch.cuda.is_available() else "cpu"
    asked, chosen = engine["precision"], precision.resolved(engine["precision"], kind, checkpoint.tensors.values())
    if chosen != precision.resolved(asked, kind):
        engine["precision"] = chosen
    return precision.note_of(asked, chosen, kind, "engine.precision=", checkpoint.tensors.values())


def _lift_limits(found: Recorded) -> dict[str, int]:
    """Evaluate all images, unless a limit is typed here: that of a training saved time while it ran. Gives those that
    were lifted."""
    lifted = {}
    for name, node in found.tree["evaluation"].items():
        key = f"evaluation.{name}.limit"
        typed = any(key == each or key.startswith(f"{each}.") for each in found.typed)
        if isinstance(node, dict) and node.get("limit") is not None and not typed:
            lifted[key], node["limit"] = node["limit"], None
    return lifted


def _fingerprint(tree: Tree, weights: str, part: str, split: Split = "validation") -> str:
    data = {name: value for name, value in tree["data"].items() if meaning_of(f"data.{name}").scores}
    if data.get("root"):  # two sets of the same layout are two evaluations
        data["root"] = str(Path(data["root"]).expanduser().resolve())
    evaluation = {
        name: {key: value for key, value in node.items() if meaning_of(f"evaluation.{name}.{key}").scores}
        for name, node in tree["evaluation"].items()
        if isinstance(node, dict)
    }
    decisive = {"weights": weights, "data": data, "inference": tree["inference"], "evaluation": evaluation}
    decisive["precision"] = tree["engine"]["precision"]
    if part not in ("", OWN_AVERAGE):  # of several models in one file; a run's own average is what it means anyway
        decisive["part"] = part
    if split != "validation":
        decisive["split"] = split
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()


def default_folder(plan: Plan) -> Path:
    """Choose where results go: beside the run, or for a file of anybody's below the output root."""
    of_a_run = plan.checkpoint.path.parent.name == "checkpoints"
    root = plan.checkpoint.path.parent.parent if of_a_run else Path(plan.config.paths.output_root)
    name = plan.name if of_a_run else f"{plan.checkpoint.path.stem}-{plan.name}"
    return root / "evaluations" / name
