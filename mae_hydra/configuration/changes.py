"""What of a configuration is no longer the training's, where that can change a score."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mae_hydra.configuration.key_meaning import flatten, meaning_of

ABSENT = "absent"


class Change(NamedTuple):
    """`ABSENT` where there is no such value."""

    now: Any
    training: Any

    def __str__(self) -> str:
        before = "not in training" if self.training == ABSENT else f"training: {shown(self.training)}"
        return f"{shown(self.now)} ({before})"


def changes(now: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Change]:
    """The keys of data, inference, evaluation and precision in which two resolved configurations differ.

    Of an evaluator that the training did not have nothing is told, and of limits the evaluation tells itself.
    """
    differing: dict[str, Change] = {}
    for part in ("data", "inference", *(f"evaluation.{name}" for name in now.get("evaluation", {}))):
        ours, theirs = at(now, part), at(record, part)
        same = ours.get("_target_") == theirs.get("_target_")
        if same or not part.startswith("evaluation"):
            differing |= _of_part(part, ours, theirs, same)
    if _mask_ratio(now) == _mask_ratio(record):
        differing.pop("inference.mask_ratio", None)
    precision = Change(at(now, "engine").get("precision"), at(record, "engine").get("precision"))
    return differing if precision.now == precision.training else differing | {"engine.precision": precision}


def _mask_ratio(config: Mapping[str, Any]) -> Any:
    """The ratio at which a MAE is judged: null is the model's own."""
    judged = at(config, "inference").get("mask_ratio")
    return at(config, "model").get("mask_ratio") if judged is None else judged


def at(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The node at a dotted key; an empty one where there is none."""
    node = value_at(config, key)
    return node if isinstance(node, Mapping) else {}


def value_at(config: Any, key: str) -> Any:
    """The value at a dotted key of a record, which may lack it."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def shown(value: Any) -> str:
    """Write a value as it is typed."""
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return f"[{', '.join(map(shown, value))}]" if isinstance(value, (list, tuple)) else str(value)


def _of_part(part: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], same: bool) -> dict[str, Change]:
    now, before = flatten(ours), flatten(theirs)
    names = [*now, *(name for name in before if same and name not in now)]
    differing = {name: Change(now.get(name, ABSENT), before.get(name, ABSENT)) for name in names}
    return {
        f"{part}.{name}": change
        for name, change in differing.items()
        if change.now != change.training and meaning_of(f"{part}.{name}").scores and name.split(".")[-1] != "limit"
    }
