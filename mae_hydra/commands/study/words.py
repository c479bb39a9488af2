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
from mae_hydra.configuration.key_meaning import Decides, meaning_of
from mae_hydra.errors import UserError
from mae_hydra.experiment.many.label_study import NAME, PRETRAIN, RECORD, SCRATCH, TABLES
from mae_hydra.recorded.configuration import composed
from mae_hydra.recorded.tables import read_table

WIDTHS = {128: "vitt", 384: "vits", 768: "vitb", 1024: "vitl", 1280: "vith"}  # of an encoder -> its model=mae_…
OWN = {  # what is said by an option of the command, as are the keys below
    "seed": "--seeds", "data.label_fraction": "--fractions", "data.label_seed": "--seeds", "init_from": "--from",
    "resume": "the same command, which goes on", "hydra.sweep": "--out", "hydra.run": "--out",
    "sweep": "python train.py -m +sweep=study", "hydra.sweeper": "python train.py -m +sweep=study",
    "then": "--pretrain and --from",
}  # fmt: skip
SHARED = ("data", "backbone", "hydra", "paths")  # words for these hold for the pre-training too,
LABELED_ONLY = ("data.train_limit", "data.batch_size")  # but for these
FREE = {  # keys of the data that do not say which images these are, beside those that say how it is run
    "train_limit", "batch_size", "label_fraction", "label_seed", "image_size", "max_bad_share", "mean", "std", "window",
}  # fmt: skip
TAKEN = (PRETRAIN, "mae", "report", SCRATCH, RECORD, *TABLES)


def refuse(words: Sequence[str], *, allowed: Sequence[str] = ()) -> None:
    """UserError for what would be said twice, but for the keys `allowed`, or would make a sweep of another kind."""
    for each in words:
        key = key_of(each)
        said = next((own for own in OWN if f"{key}.".startswith(f"{own}.") and own not in allowed), None)
        if said is not None:
            raise UserError(f"{each}: a study says this itself; use {OWN[said]}")
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
    if config.then:
        raise UserError(f"a study judges its own runs, and {', '.join(config.then)} would follow each of them (then)")
    return config


def equal_steps(config: DictConfig, planned: Plan) -> list[str]:
    """What makes all runs of one length: an epoch of fewer images would be fewer steps."""
    if config.schedule.get("unit") != "epoch":
        return []
    return ["schedule.unit=step", f"schedule.total={planned.steps}", f"schedule.warmup={planned.warmup_steps}"]


def swept(fractions: Sequence[float], seeds: Sequence[int]) -> list[str]:
    shares = ",".join(f"{each:.10g}" for each in fractions)
    return [f"data.label_fraction={shares}", f"seed={','.join(map(str, seeds))}"]


def arms_of(scratch: str | None, config: DictConfig, *, own: bool, given: Sequence[str]) -> dict[str, list[str]]:
    """The ways to start, and the words of each; the own MAE's are known when it is there.

    From scratch there is nothing in the first blocks to be kept, so all learn at the same rate unless `scratch` says
    otherwise.
    """
    even = ["optimizer.layer_decay=1.0"] if "layer_decay" in config.optimizer else []
    arms = {SCRATCH: even if scratch is None else in_quotes("--scratch", scratch)}
    refuse(arms[SCRATCH])
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
    added = in_quotes("--pretrain", own)
    refuse(added, allowed=("seed", "init_from"))
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
    found = with_defaults([*kept, *added], {**defaults, "seed": "0"})
    if not typed & {"data", "experiment"} and "data" not in map(key_of, kept):  # then an experiment may have chosen it
        chosen = composed([each for each in found if not key_of(each).startswith("data.")])
        if chosen.data._target_ != config.data._target_:
            raise UserError(
                f"an experiment chose the data of the labeled runs ({config.data._target_}), and the pre-training "
                "would be of others: type data=… too"
            )
    made = composed(found)
    if made.task != "pretrain":
        raise UserError(f"--pretrain names no pre-training (its task is {made.task})")
    other = [f"data.{key}" for key, value in config.data.items() if key not in FREE and made.data.get(key) != value]
    other = [key for key in other if key not in typed and meaning_of(key).decides is not Decides.RUNNING]
    if other and not typed & {"data", "experiment"}:
        raise UserError(
            f"the labeled runs and the pre-training differ in {', '.join(other)}, which an experiment or option says "
            "of the former alone: type it too, or say it for the latter with --pretrain"
        )
    return found


def in_quotes(option: str, typed: str) -> list[str]:
    """The words that stand in the quotes of an option."""
    try:
        return shlex.split(typed)
    except ValueError as error:
        raise UserError(f"{option} takes words as train.py does, got {typed!r} ({error})") from error


def _is_shared(key: str) -> bool:
    return (key.partition(".")[0] in SHARED and key not in LABELED_ONLY) or meaning_of(key).inherited


def as_before(out: Path) -> Path:
    """The folder as it was typed when the study began: the names of jobs that begin from its weights follow from it."""
    earlier = Path((read_table(out / RECORD) or {}).get("out") or out)
    return earlier if earlier.resolve() == out.resolve() else out


def with_earlier(out: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a study that goes on: with other shares, seeds and weights, and with the arms that it had before.

    UserError where words are others, or an arm of the same name begins otherwise: their runs lie in one folder.
    """
    before = read_table(out / RECORD) or {}
    arms = {**before.get("arms", {}), **record["arms"]}
    pairs = {"the labeled runs": (before.get("words"), record["words"])}
    pairs["the pre-training"] = (before.get("pretrain") or None, record["pretrain"] or None)
    pairs |= {f"the start {arm}": (before.get("arms", {}).get(arm), record["arms"].get(arm)) for arm in arms}
    for what, words in pairs.items():
        old, new = ([each for each in part or () if not unnamed(each)] for part in words)
        if None not in words and old != new:
            raise UserError(
                f"{out} is a study with other words for {what} ({shlex.join(old)}, now {shlex.join(new)}); "
                "give another folder with --out"
            )
    return {**record, "arms": arms, "pretrain": record["pretrain"] or before.get("pretrain", [])}
