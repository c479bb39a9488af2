"""The words of a study: what is typed for its labeled runs, and what follows from it for each of its sweeps."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mae_hydra.benchmark.plan import Plan
from mae_hydra.configuration.command_words import key_of, parsed, word
from mae_hydra.configuration.job_names import unnamed
from mae_hydra.configuration.key_meaning import meaning_of
from mae_hydra.errors import UserError
from mae_hydra.experiment.many.label_study import NAME, RECORD, SCRATCH
from mae_hydra.recorded.configuration import composed
from mae_hydra.recorded.tables import read_table

WIDTHS = {128: "vitt", 384: "vits", 768: "vitb", 1024: "vitl", 1280: "vith"}  # of an encoder -> its model=mae_…
OWN = {  # what is said by an option of the command
    "seed": "--seeds", "data.label_fraction": "--fractions", "data.label_seed": "--seeds", "init_from": "--from",
    "resume": "the same command, which goes on", "hydra.sweep.dir": "--out", "hydra.run.dir": "--out",
    "sweep": "python train.py -m +sweep=study", "then": "--pretrain and --from",
}  # fmt: skip
SHARED = ("data", "backbone", "hydra", "paths")  # words for these hold for the pre-training too,
LABELED_ONLY = ("data.train_limit", "data.batch_size")  # but for these
TAKEN = ("pretrain", "mae", "report", SCRATCH)


def refuse(words: Sequence[str]) -> None:
    """UserError for what would be said twice, or would make a sweep of another kind."""
    for each in words:
        if (key := key_of(each)) in OWN:
            raise UserError(f"{each}: a study says this itself; use {OWN[key]}")
    for override in parsed(words):
        if override.is_sweep_override():
            raise UserError(f"{override.input_line}: a study sweeps over labels and seeds alone; give one value")


def numbers(option: str, typed: str, kind: Callable[[str], Any]) -> list[Any]:
    """Whole numbers or shares with commas between them, each once."""
    try:
        found = sorted({kind(each) for each in typed.split(",")})
    except ValueError as error:
        raise UserError(f"{option} takes numbers with commas between them, got {typed!r}") from error
    if kind is float and not all(0 < each <= 1 for each in found):
        raise UserError(f"{option} takes shares in (0, 1], got {typed}")
    return found


def with_defaults(words: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """The words, and those of `defaults` (key -> value) whose keys nobody typed."""
    typed = set(map(key_of, words))
    return [*words, *(f"{key}={value}" for key, value in defaults.items() if key not in typed)]


def composed_labeled(words: Sequence[str]) -> DictConfig:
    """The configuration of the labeled runs; UserError where they learn from no labels."""
    config = composed(["+sweep=study", *words])
    if config.task not in ("segment", "classify"):
        raise UserError(f"a study is about labels, and {config.name} learns without any: name model=upernet_vitb, say")
    return config


def equal_steps(config: DictConfig, planned: Plan) -> list[str]:
    """What makes all runs of one length: an epoch of fewer images would be fewer steps."""
    if config.schedule.get("unit") != "epoch":
        return []
    return ["schedule.unit=step", f"schedule.total={planned.steps}", f"schedule.warmup={planned.warmup_steps}"]


def swept(fractions: Sequence[float], seeds: Sequence[int]) -> list[str]:
    return [f"data.label_fraction={','.join(f'{each:g}' for each in fractions)}", f"seed={','.join(map(str, seeds))}"]


def arms_of(scratch: str | None, config: DictConfig, *, own: bool, given: Sequence[str]) -> dict[str, list[str]]:
    """The ways to start, and the words of each; the own MAE's are known when it is there.

    From scratch there is nothing in the first blocks to be kept, so all learn at the same rate unless `scratch` says
    otherwise.
    """
    even = ["optimizer.layer_decay=1.0"] if "layer_decay" in config.optimizer else []
    arms = {SCRATCH: even if scratch is None else shlex.split(scratch)}
    if own:
        arms["mae"] = []
    for each in given:
        name, _, weights = each.partition("=")
        if not weights or not re.fullmatch(NAME, name) or name in (*TAKEN, *arms):
            raise UserError(f"--from takes weights and a name for them, released=mae_pretrain_vit_base.pth; got {each}")
        arms[name] = [word("init_from", weights)]
    if len(arms) == 1:
        raise UserError("there is nothing to compare with training from scratch: name weights with --from")
    return arms


def pretraining(words: Sequence[str], own: str, config: DictConfig, defaults: Mapping[str, str]) -> list[str]:
    """The words of the own MAE: its encoder, its data and where it runs are the labeled runs'; `own` come last."""
    added = shlex.split(own)
    typed = set(map(key_of, added))
    kept = [each for each in words if _is_shared(key_of(each)) and key_of(each) not in typed]
    if "model" not in typed and "experiment" not in typed:
        is_ours = config.backbone._target_ == "mae_hydra.models.VisionTransformer"
        size = WIDTHS.get(config.backbone.embed_dim) if is_ours else None
        if size is None:
            raise UserError(
                "no MAE is known for this encoder: name one with --pretrain 'model=…', or give weights of your own "
                "with --no-pretrain --from <name>=<weights>"
            )
        kept.insert(0, f"model=mae_{size}")
    found = [*with_defaults([*kept, *added], defaults), "seed=0"]
    if (task := composed(found).task) != "pretrain":
        raise UserError(f"--pretrain names no pre-training (its task is {task})")
    return found


def _is_shared(key: str) -> bool:
    return (key.partition(".")[0] in SHARED and key not in LABELED_ONLY) or meaning_of(key).inherited


def refuse_another(out: Path, record: Mapping[str, Any]) -> None:
    """A study goes on with other shares, seeds and weights, but not with other words."""
    before = read_table(out / RECORD) or {}
    for name, what in (("words", "the labeled runs"), ("pretrain", "the pre-training")):
        old, new = ([each for each in told or () if not unnamed(each)] for told in (before.get(name), record[name]))
        if old and new and old != new:
            raise UserError(
                f"{out} is a study with other words for {what} ({shlex.join(old)}, now {shlex.join(new)}); "
                "give another folder with --out"
            )
