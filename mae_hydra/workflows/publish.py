"""A trained model as a folder for others: weights, what they are, and a card that tells how they were made.

What is written is for everybody to read, so nothing of it tells of the machine: no host, no user, no environment
variables, and of every path only its last name.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import nn

from mae_hydra import __version__, atomic
from mae_hydra.configuration.changes import at
from mae_hydra.configuration.from_file import read_recorded
from mae_hydra.errors import UserError
from mae_hydra.experiment.provenance import sha256_of
from mae_hydra.names import clean
from mae_hydra.owned import Owned
from mae_hydra.recorded.configuration import model_configuration
from mae_hydra.recorded.sketch import sketch_of
from mae_hydra.recorded.tables import is_texts
from mae_hydra.types import answers, channels_of, image_size_of
from mae_hydra.weights import (
    WORDS,
    Checkpoint,
    check_finite,
    describe,
    is_address,
    read_checkpoint,
    to_layout,
    write_checkpoint,
)
from mae_hydra.workflows.convert import check_whole
from mae_hydra.workflows.model_card import Facts, card, is_edited, scores_of

COMMAND = "publish"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
# An absolute path in a text, or one in somebody's home, but for its last name; no address.
PLACE = re.compile(
    r"(?:\bfile:/{0,2}|(?<![\w:/.\-]))(?:~[\w.\-]*)?(?:/[^\s,:'\"\[\]{}()/=]+)*/(?=[^\s,:'\"\[\]{}()/=])"
)
TASKS = {"pixels": "image-segmentation", "images": "image-classification"}  # by what a model answers, as hubs call them
# What these keys were is of no use to anybody else, or nobody's business.
OF_NO_USE: dict[str, Any] = {"logger": {}, "callbacks": {}, "then": {}, "notes": None, "group": None, "resume": "auto"}
OF_ENVIRONMENT = ("packages", "choices")


class Published(NamedTuple):
    """`kept_card`: whether a README.md that a person has edited was left as it is."""

    folder: Path
    size: int
    kept_card: bool


def publish(run: str | Path, folder: Path, prefer: Literal["last", "best"] = "best") -> Published:
    """Write the model of a run, or of a checkpoint file, to `folder`, with config.json and a model card.

    The folder reads back as any checkpoint does. UserError before anything is written where the weights are no whole
    model, or the folder holds what this command has not written.
    """
    if is_address(run):
        raise UserError(f"publish takes a run or a checkpoint of your own, got {run}; what lies there is published")
    owned = _checked(folder)
    checkpoint = read_checkpoint(run, prefer=prefer)
    check_finite(checkpoint)
    config, _ = model_configuration(checkpoint)
    check_whole(checkpoint, config)
    model = sketch_of(checkpoint, config)
    meta = _for_everybody({**checkpoint.meta, "config": config})
    scores = scores_of(checkpoint)
    write_checkpoint(owned.claim(folder / WEIGHTS), "native", to_layout(checkpoint.tensors, "native"), meta, None)
    description = _config(checkpoint, model, meta)
    description["sha256"] = sha256_of(folder / WEIGHTS)
    atomic.write_text(owned.claim(folder / CONFIG), json.dumps(description, indent=2, ensure_ascii=False) + "\n")
    kept = is_edited(folder / CARD)
    if not kept:
        facts = Facts(
            what=_what(checkpoint, model, description),
            meta=meta,
            config=description,
            words=[without_places(word) for word in _words(checkpoint)],
            scores=scores,
        )
        atomic.write_text(owned.claim(folder / CARD), card(facts))
    return Published(folder, (folder / WEIGHTS).stat().st_size, kept)


def _checked(folder: Path) -> Owned:
    """UserError where the folder is somebody else's; what a version control keeps there is nobody's work."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a folder to publish in")
    atomic.check_writable(folder, "give another folder")
    owned = Owned(folder, COMMAND)
    for name in (WEIGHTS, CONFIG, CARD):
        owned.check(folder / name)
    others = [name for name in os.listdir(folder) if not name.startswith(".")] if folder.is_dir() else []
    if others and folder / WEIGHTS not in owned:
        raise UserError(
            f"{folder} holds {sorted(others)[0]}, which mae-hydra publish has not written and which would be uploaded "
            "as well; give another folder, or move it away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return owned


def without_places(text: str) -> str:
    """`text` with the last name alone of every path that tells of a machine."""
    return PLACE.sub("", text)


def _for_everybody(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint tells, without what only its machine and its owner are concerned with."""
    config = {name: value for name, value in meta["config"].items() if name not in OF_NO_USE}
    config |= {name: value for name, value in OF_NO_USE.items() if name in meta["config"]}
    public = {**meta, "config": _shortened(config)}
    public.pop("ignored", None)
    origin = meta.get("origin")
    if isinstance(origin, Mapping):
        source = {name: origin.get(name) for name in ("seed", "data")}
        source["git"] = {name: at(origin, "git").get(name) for name in ("commit", "dirty")}
        source["environment"] = {name: dict(at(origin, f"environment.{name}")) for name in OF_ENVIRONMENT}
        source["parent"] = dict(at(origin, "parent")) or None
        public["origin"] = _shortened(source)
    return public


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return without_places(value)
    if isinstance(value, Mapping):
        return {name: _shortened(child) for name, child in value.items()}
    return [_shortened(child) for child in value] if isinstance(value, list) else value


def _what(checkpoint: Checkpoint, model: nn.Module, description: Mapping[str, Any]) -> str:
    size = f"{description['parameters'] / 1e6:.1f} M parameters"
    if checkpoint.kind != "other":
        return f"{WORDS[checkpoint.kind]}, {describe(checkpoint).size_name}, {size}"
    encoder = at(description, "model.encoder")
    name = encoder.get("model_name") or str(encoder.get("_target_", "")).rpartition(".")[2]
    return f"a {type(model).__name__}{f' on {clean(name)}' if name else ''}, {size}"


def _config(checkpoint: Checkpoint, model: nn.Module, meta: Mapping[str, Any]) -> dict[str, Any]:
    """config.json: the architecture, the normalisation and the classes, for programs that know nothing of ours.

    `model`: without numbers; what it declares counts.
    """
    node, answer, names = meta["config"]["model"], answers(model), meta.get("class_names") or []
    description: dict[str, Any] = {
        "library_name": "mae_hydra",
        "mae_hydra_version": __version__,
        "model_type": f"mae_hydra_{checkpoint.kind}",
        "architectures": [type(model).__name__],
        "pipeline_tag": TASKS.get(str(answer), "image-feature-extraction"),
        "image_size": image_size_of(model),
        "num_channels": channels_of(model),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "rescale_factor": 1 / 255,  # pixels are divided by 255 before the mean is taken off
        "image_mean": node.get("mean"),
        "image_std": node.get("std"),
        "step": meta.get("step"),
        "model": node,
    }
    if checkpoint.kind != "other":
        described = describe(replace(checkpoint, meta=dict(meta)))
        description |= {
            "patch_size": described.patch_size,
            "hidden_size": described.encoder.dim,
            "num_hidden_layers": described.encoder.depth,
            "num_attention_heads": described.encoder.heads,
        }
    if names and answer in TASKS:
        description |= {
            "num_labels": len(names),
            "id2label": {str(number): name for number, name in enumerate(names)},
            "label2id": {name: number for number, name in enumerate(names)},
            "palette": meta.get("palette"),
        }
    return {name: value for name, value in description.items() if value is not None}


def _words(checkpoint: Checkpoint) -> Sequence[str]:
    """The words after `python train.py` of the run that a checkpoint lies in."""
    file = checkpoint.path.parent.parent / "overrides.yaml"
    if checkpoint.path.parent.name == "checkpoints" and file.is_file():
        recorded = read_recorded(file)
        return [clean(word) for word in recorded] if is_texts(recorded) else []
    command = at(checkpoint.meta, "origin.environment").get("command")
    words = command[2:] if isinstance(command, list) else []
    return [clean(word) for word in words if isinstance(word, str) and word != "train"]
