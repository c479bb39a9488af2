"""A default that stands in an option file and in the signature that it fills is the same in both: no call lies."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import yaml

from mae_hydra.configuration.tree import config_dir

# Where a part that is built by hand, without option files, is meant to do otherwise.
OTHERWISE = {
    "mae_hydra.data.ClassifyAugment.decode",
    "mae_hydra.data.PretrainAugment.decode",
    "mae_hydra.data.SegmentAugment.short",
}


def nodes(value: Any) -> Iterator[dict]:
    if isinstance(value, dict):
        if str(value.get("_target_", "")).startswith("mae_hydra."):
            yield value
        for child in value.values():
            yield from nodes(child)


def doubled() -> Iterator[tuple[str, Any, Any]]:
    """(argument, default of the signature, value of the option file), where both say one."""
    for file in config_dir().rglob("*.yaml"):
        if file.parent.name in ("experiment", "sweep", "debug"):
            continue  # they say what is otherwise
        for node in nodes(yaml.safe_load(file.read_text())):
            module, _, name = node["_target_"].rpartition(".")
            parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
            for key, value in node.items():
                known = key in parameters and parameters[key].default is not inspect.Parameter.empty
                if known and not isinstance(value, dict) and not str(value).startswith("${"):
                    yield f"{node['_target_']}.{key}", parameters[key].default, value


def test_a_default_in_two_places_is_one_value() -> None:
    found: dict[str, list[tuple[Any, Any]]] = {}
    for argument, default, value in doubled():
        default = list(default) if isinstance(default, tuple) else default
        found.setdefault(argument, []).append((default, value))
    assert len(found) > 20
    # Options of one group may differ (a probe freezes its encoder, UPerNet does not): one of them has the default.
    differing = {name for name, pairs in found.items() if not any(default == value for default, value in pairs)}
    assert differing - OTHERWISE == set()
    assert OTHERWISE - {name for name, _, _ in doubled()} <= {"mae_hydra.data.SegmentAugment.short"}  # it refers
