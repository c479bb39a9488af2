"""The only caller of Hydra's `instantiate`: from a config node to an object, with errors a person can act on."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig

from mae_hydra.archive import short
from mae_hydra.errors import UserError
from mae_hydra.experiment.trust import Origin, judge


def build(node: DictConfig, key: str, *args: Any, origin: Origin = "person", **kwargs: Any) -> Any:
    """Build the object that `node` describes; `key` names the node in error messages.

    Containers are plain (no ListConfig reaches an object or a checkpoint). A `_partial_` node gives a plain
    `functools.partial`: Hydra's own re-checks its target at every call. `origin`: who says what is to be built, by
    which every target below `node` is judged first.
    """
    for path, target in targets(node, key):
        judge(target, path, origin)
    for path, text in _texts(node, key):
        if "${" in text:  # meant as a text, where it is one still; Hydra would resolve it once more
            raise UserError(
                f"{path} = {short(text)} holds an interpolation that would be resolved later: write its value"
            )
    options: dict[str, Any] = {"_convert_": "all"}
    if hasattr(hydra.utils, "execution_whitelist"):  # Hydra 1.4 has a list of its own; ours has been applied
        options["_execution_whitelist_"] = [f"{target.rpartition('.')[0]}.*" for _, target in targets(node, key)]
    try:
        made = hydra.utils.instantiate(node, *args, **kwargs, **options)
    except InstantiationException as error:
        root = _root_cause(error)
        if isinstance(root, UserError):
            raise root from error
        if isinstance(root, (ValueError, TypeError)):
            raise UserError(str(root) if str(root).startswith(f"{key}.") else f"{key}: {root}") from error
        if origin != "person":  # whatever goes wrong in a part that it names, the file is not right
            raise UserError(f"{key} cannot be built ({type(root).__name__}: {_first_line(root)})") from error
        raise
    if isinstance(made, functools.partial):
        return functools.partial(made.func, *made.args, **made.keywords)
    return made


def evaluator_nodes(config: DictConfig) -> dict[str, DictConfig]:
    """The evaluators of a configuration. Where evaluation=none has taken them out, a preset's settings for them are not
    one; beside others, a node without a `_target_` is a mistake."""
    nodes = {str(name): node for name, node in config.evaluation.items()}
    found = {name: node for name, node in nodes.items() if "_target_" in node}
    for name in nodes.keys() - found.keys() if found else ():
        raise UserError(f"evaluation.{name} has no _target_, which says what evaluates")
    return found


def complete(key: str, factory: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a `_partial_` with what only the run knows; what it refuses is the configuration's fault."""
    try:
        return factory(*args, **kwargs)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


def targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(key, target) of every `_target_` below `node`, whatever stands there as one."""
    if isinstance(node, ListConfig):
        for position, child in enumerate(node):
            yield from targets(child, f"{key}[{position}]")
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, node["_target_"]
        for name in node:
            yield from targets(node[name], f"{key}.{name}")


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, text) of every text below `node`, resolved."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, ListConfig):
        for position, child in enumerate(node):
            yield from _texts(child, f"{key}[{position}]")
    elif isinstance(node, DictConfig):
        for name in node:
            yield from _texts(node[name], f"{key}.{name}")


def _root_cause(error: BaseException) -> BaseException:
    """What first went wrong; a UserError speaks for whatever is behind it."""
    while error.__cause__ is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
