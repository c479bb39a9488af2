"""A group that is chosen anew on top of a recorded configuration: what is of today then, and what stays as it was."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from mae_hydra.configuration.changes import at, shown
from mae_hydra.configuration.interpolations import resolved
from mae_hydra.configuration.key_meaning import flatten, meaning_of
from mae_hydra.configuration.option_files import UNSET, Tree

OF_THE_MODEL = ("image_size", "channels", "mean", "std")  # of the data's keys: what the weights were made for


def choose(
    config: DictConfig, record: Tree, group: str, name: str, node: Tree, before: str | None, keys: Sequence[Override]
) -> list[str]:
    """Put `node`, that of the option `group=name`, in its place, and say what stays as it was all the same.

    What was chosen in training (`before`) stays what it was. So do the data where they are the very files of the
    training under another name: their labels mean what they meant. Other data are for the same model.
    """
    there = at(record, group)
    node = {key: there.get(key, value) if value == UNSET else value for key, value in node.items()}
    typed = {str(override.key_or_group): override for override in keys}
    other = config.copy()
    other[group] = node
    said = resolved(other)[group]
    same_target = said.get("_target_") == there.get("_target_")
    if before == name and same_target:
        return _stays(group, name, said, there, typed, "the training chose it too")
    if group == "data" and there:
        root = typed["data.root"].value() if "data.root" in typed else said.get("root")
        own: Any = OmegaConf.to_container(config.data, resolve=False)
        if _same_place(root, there.get("root")):
            config["data"] = own if same_target else node | {k: own[k] for k in node if k in own and k != "_target_"}
            return _stays(group, name, said, there, typed, "these are the files of the training")
        node |= {key: own[key] for key in (*OF_THE_MODEL, "batch_size") if key in node and key in own}
    config[group] = node
    return []


def _stays(
    group: str, name: str, said: Tree, there: Mapping[str, Any], typed: Mapping[str, Any], why: str
) -> list[str]:
    """A note where the option says otherwise than what was recorded, which stays."""
    before = flatten(there)
    kept = [
        f"{group}.{key} is {shown(before[key])} ({group}={name} says {shown(value)})"
        for key, value in flatten(said).items()
        if key in before
        and key != "_target_"  # which is the option's, where they differ
        and before[key] != value
        and meaning_of(f"{group}.{key}").scores
        and f"{group}.{key}" not in typed
    ]
    return [f"as in training, because {why}: {', '.join(kept)}"] if kept else []


def _same_place(first: Any, second: Any) -> bool:
    if not (isinstance(first, str) and isinstance(second, str)):
        return False
    return first == second or Path(first).expanduser().resolve() == Path(second).expanduser().resolve()
