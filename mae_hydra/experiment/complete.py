"""A node that another version recorded: what it lacks is as in today's option files, what it has too much is said."""

import inspect
from collections.abc import Collection
from typing import Any

from mae_hydra.errors import UserError
from mae_hydra.experiment.construct import OWN, locate
from mae_hydra.experiment.option_files import stated

OF_HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def complete(node: Any, key: str, typed: Collection[str] = ()) -> list[str]:
    """Add to `node`, in place, the arguments that its targets need today and it does not have; a sentence for each.

    Only where the option files agree on a value. UserError for an argument that this version does not know, unless it
    is among the `typed` keys, whose slips have a sentence of their own.
    """
    if isinstance(node, list):
        return [said for place, child in enumerate(node) for said in complete(child, f"{key}[{place}]", typed)]
    if not isinstance(node, dict):
        return []
    notes = _complete(node, key, typed) if str(node.get("_target_", "")).startswith(OWN) else []
    return notes + [said for name, child in node.items() for said in complete(child, f"{key}.{name}", typed)]


def _complete(node: dict[str, Any], key: str, typed: Collection[str]) -> list[str]:
    try:
        target = locate(str(node["_target_"]))
        parameters = inspect.signature(target).parameters
    except (ImportError, AttributeError, ValueError, TypeError):
        return []  # the check of the configuration has a sentence for it
    for name in node.keys() - parameters.keys() - OF_HYDRA:
        if f"{key}.{name}" not in typed:
            raise UserError(
                f"{key}.{name} was recorded by another version: {target.__name__} takes no such argument today (it "
                f"takes {', '.join(parameters)}); leave it out with ~{key}.{name}"
            )
    notes = []
    for name in parameters.keys() - node.keys():
        values = stated(str(node["_target_"])).get(name, ())
        if parameters[name].default is inspect.Parameter.empty and len(values) == 1:
            node[name] = values[0]
            notes.append(f"{key}.{name} is newer than this run: {values[0]}, as today's option files have it")
    return notes
