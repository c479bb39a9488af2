"""A node that another version recorded: what it lacks is as in today's option files, what it has too much is said."""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mae_hydra.configuration.changes import shown
from mae_hydra.configuration.check import HYDRA_KEYS
from mae_hydra.configuration.interpolations import NOTHING, value_of
from mae_hydra.configuration.option_files import stated
from mae_hydra.configuration.trust import judge
from mae_hydra.errors import UserError

NEWER_GROUPS = ("encoder", "loss", "callbacks")  # which earlier records do not have, and did without


def with_newer_groups(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the groups that it is older than, empty."""
    return {**{group: {} for group in NEWER_GROUPS}, **record}


def with_newer_arguments(
    config: DictConfig, parts: Sequence[str], typed: Collection[str] = ()
) -> tuple[DictConfig, list[str]]:
    """`config` with the arguments that the targets of `parts` need today and were not recorded; a sentence for each.

    Only where the option files agree on a value. UserError for an argument that this version does not know, unless it
    is among the `typed` keys, whose slips have a sentence of their own.
    """
    tree: Any = OmegaConf.to_container(config, resolve=False)
    notes = [said for part in parts for said in _below(config, tree.get(part), part, typed)]
    return OmegaConf.create(tree) if notes else config, notes


def _below(config: DictConfig, node: Any, key: str, typed: Collection[str]) -> Iterator[str]:
    if isinstance(node, list):
        for place, child in enumerate(node):
            yield from _below(config, child, f"{key}[{place}]", typed)
    elif isinstance(node, dict):
        if stated(str(node.get("_target_"))):  # no other is looked for: a file names what it likes
            yield from _complete(config, node, key, typed)
        for name, child in list(node.items()):
            yield from _below(config, child, f"{key}.{name}", typed)


def _complete(config: DictConfig, node: dict[str, Any], key: str, typed: Collection[str]) -> Iterator[str]:
    try:
        target = judge(str(node["_target_"]), key, "file")
        parameters = inspect.signature(target).parameters
    except (UserError, ValueError, TypeError):
        return  # the check of the configuration has a sentence for it
    for name in node.keys() - parameters.keys() - HYDRA_KEYS:
        if f"{key}.{name}" not in typed:
            raise UserError(
                f"{key}.{name} was recorded by another version: {target.__name__} takes no such argument today (it "
                f"takes {', '.join(parameters)}); leave it out with ~{key}.{name}"
            )
    for name in [name for name in parameters if name not in node]:
        values = stated(str(node["_target_"])).get(name, ())
        if parameters[name].default is not inspect.Parameter.empty or len(values) != 1:
            continue
        value = value_of(config, values[0])
        if value is not NOTHING:
            node[name] = values[0]
            yield f"{key}.{name} is newer than this run: {shown(value)}, as today's option files have it"
