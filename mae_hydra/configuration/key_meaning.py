"""What each key of the configuration means beyond itself: one table, for all who ask.

A run that goes on asks whether a key that has changed changes what is trained; a sweep, whether a word names a job's
directory; what follows a run (`then`), whether a word that was typed for the run holds for it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Decides(Enum):
    """What a run that goes on with another value of a key would change."""

    WEIGHTS = "what is trained: such a run is another one"
    SCORES = "what is measured of it: scores before and after cannot be compared"
    RUNNING = "how it is run, logged, saved and shown"
    PLACE = "what it is called, where it lies, and how to begin"


@dataclass(frozen=True)
class Meaning:
    """`names_job`: a word for it is a part of the name of a sweep's job. `inherited`: it holds for `then` as well.

    `scores`: with another value an evaluation of the same weights may give other numbers.
    """

    decides: Decides
    names_job: bool = True
    inherited: bool = False
    scores: bool = True


_WEIGHTS, _SCORES, _RUNNING = Meaning(Decides.WEIGHTS), Meaning(Decides.SCORES), Meaning(Decides.RUNNING)
_PLACE = Meaning(Decides.PLACE, names_job=False)
_HOW = Meaning(Decides.RUNNING, scores=False)

# Of the rows that match, the one with the most names counts; "*" is any name, and a row holds for all keys below it.
# What no row of its own sets free decides the weights.
TABLE: dict[str, Meaning] = {
    # keys of the root
    "name": Meaning(Decides.PLACE),
    "task": _WEIGHTS,
    "seed": _WEIGHTS,
    "init_from": _WEIGHTS,
    "init_adapt": _WEIGHTS,
    "encoder": Meaning(Decides.PLACE),  # what it says stands in the backbone, where that has it
    "group": _PLACE,
    "resume": _PLACE,
    "resume_data": _PLACE,
    "tags": _PLACE,
    "notes": _PLACE,
    "fail_fast": _PLACE,
    "then": Meaning(Decides.RUNNING, names_job=False),
    # groups
    "model": _WEIGHTS,
    "backbone": _WEIGHTS,
    "head": _WEIGHTS,
    "loss": _WEIGHTS,
    "augment": _WEIGHTS,
    "optimizer": _WEIGHTS,
    "schedule": _WEIGHTS,
    "data": _WEIGHTS,
    "data.root": Meaning(Decides.PLACE),  # what lies there is compared itself
    "data.path": Meaning(Decides.PLACE),
    "data.streaming": _HOW,
    "data.batch_size": Meaning(Decides.WEIGHTS, scores=False),
    "data.max_bad_share": Meaning(Decides.WEIGHTS, scores=False),
    "data.num_workers": _HOW,
    "data.prefetch": _HOW,
    "data.cache": _HOW,
    "data.cache_gb": _HOW,
    "inference": _SCORES,
    "evaluation": _SCORES,
    "evaluation.*.every": _HOW,
    "evaluation.*.batch_size": _HOW,
    "evaluation.*.num_workers": _HOW,
    "evaluation.*.num_pictures": _HOW,
    "checkpoint": _RUNNING,
    "checkpoint.monitor": _SCORES,
    "checkpoint.mode": _SCORES,
    "callbacks": _RUNNING,
    "engine": Meaning(Decides.WEIGHTS, inherited=True),
    "engine.device": Meaning(Decides.WEIGHTS, inherited=True),
    "engine.precision": Meaning(Decides.WEIGHTS, inherited=True),
    "engine.devices": Meaning(Decides.RUNNING, inherited=True),
    "engine.parallel": _RUNNING,
    "engine.global_batch": _WEIGHTS,
    "engine.batch_norm": _WEIGHTS,
    "engine.clip_grad": _WEIGHTS,
    "engine.nonfinite_limit": _RUNNING,
    "engine.ema_decay": _WEIGHTS,
    "engine.compile": _WEIGHTS,  # other kernels round in another way
    "engine.recompute": _RUNNING,
    "engine.log_every": _RUNNING,
    "engine.stop_after": _RUNNING,
    "engine.profile_steps": _RUNNING,
    "engine.deterministic": _WEIGHTS,
    "logger": Meaning(Decides.RUNNING, names_job=False, inherited=True),
    "paths": _PLACE,
    "paths.data_root": Meaning(Decides.PLACE, names_job=False, inherited=True),
    # words that choose files of conf/ and are no keys themselves
    "debug": Meaning(Decides.PLACE, inherited=True),
    "experiment": Meaning(Decides.PLACE),
    "sweep": _PLACE,
    "local": _PLACE,
    "hydra": _PLACE,
}


_ROWS = {tuple(row.split(".")): meaning for row, meaning in TABLE.items()}


def meaning_of(key: str) -> Meaning:
    """The meaning of a dotted key, or of a group that is chosen (`hydra/launcher`)."""
    names = tuple(key.replace("/", ".").split("."))
    for length in range(len(names), 0, -1):
        start = names[:length]
        patterns = [start, *((*start[:place], "*", *start[place + 1 :]) for place in range(length))]
        for pattern in patterns:
            if pattern in _ROWS:
                return _ROWS[pattern]
    return _WEIGHTS


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested configuration; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def deciding(config: Mapping[str, Any], *kinds: Decides) -> dict[str, Any]:
    """The keys of a resolved configuration, dotted, that decide something of these kinds."""
    return {key: value for key, value in flatten(config).items() if meaning_of(key).decides in kinds}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *kinds: Decides) -> dict[str, tuple[Any, Any]]:
    """(before, after) of every key of these kinds that differs, by its name; None where there is no such key."""
    before, after = deciding(old, *kinds), deciding(new, *kinds)
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return {key: (before.get(key), after.get(key)) for key in keys}


def told(changed: Mapping[str, tuple[Any, Any]], most: int = 5) -> str:
    """`schedule.total: 700 -> 800; seed: 0 -> 1`, and an ellipsis where there are more than `most`."""
    lines = [f"{key}: {before} -> {after}" for key, (before, after) in changed.items()]
    return "; ".join(lines[:most]) + (" …" if len(lines) > most else "")
