"""The only caller of Hydra's `instantiate`: from a config node to an object, with errors a person can act on."""

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig

from mae_hydra.errors import UserError

OWN = ("mae_hydra.",)
# Of these only classes can be built: their functions load files, run code and reach the network.
LIBRARIES = ("torch.", "torchvision.", "timm.", "torchmetrics.")
TRUST = "MAE_HYDRA_TRUST"  # environment: further packages, separated by commas


def build(node: DictConfig, key: str, *args: Any, trusted: tuple[str, ...] | None = None, **kwargs: Any) -> Any:
    """Build the object that `node` describes; `key` names the node in error messages.

    Containers are plain (no ListConfig reaches an object or a checkpoint). A `_partial_` node gives a plain
    `functools.partial`: Hydra's own re-checks its target at every call. `trusted`: where targets may lie; by default
    this package, classes of the libraries it stands on, and what the environment names.
    """
    for path, target in targets(node, key):
        _refuse_untrusted(path, target, trusted)
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


def targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, target) of every `_target_` below `node`."""
    if isinstance(node, ListConfig):
        for position, child in enumerate(node):
            yield from targets(child, f"{key}[{position}]")
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield key, str(node["_target_"])
        for name in list(node):  # as it is: the keys of `data.values` are numbers
            yield from targets(node[name], f"{key}.{name!s}")


def locate(target: str) -> Any:
    """The object at a dotted path; ImportError, AttributeError or ValueError where there is none."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _refuse_untrusted(key: str, target: str, trusted: tuple[str, ...] | None) -> None:
    try:
        found = locate(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}._target_ = {target} cannot be found ({error})") from error
    home = f"{getattr(found, '__module__', '')}."  # not the path: `mae_hydra.models.mae.torch.load` is no model
    if trusted is None:
        extra = tuple(f"{name.strip()}." for name in os.environ.get(TRUST, "").split(",") if name.strip())
        if home.startswith(OWN + extra) or (home.startswith(LIBRARIES) and inspect.isclass(found)):
            return
        way_out = f"; to allow a package of yours, set {TRUST}=<package>"
    elif home.startswith(trusted):
        return
    else:
        way_out = f"; only {', '.join(name + '*' for name in trusted)} is built from a file"
    raise UserError(f"{key}._target_ = {target} is not built{way_out}")


def _root_cause(error: BaseException) -> BaseException:
    """What first went wrong; a UserError speaks for whatever is behind it."""
    while error.__cause__ is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error
