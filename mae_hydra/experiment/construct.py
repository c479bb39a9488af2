"""The only caller of Hydra's `instantiate`: from a config node to an object, with errors a person can act on."""

import functools
from collections.abc import Callable
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from mae_hydra.errors import UserError

# What a configuration may build; Hydra 1.4 enforces the list, 1.3 has a blocklist of its own.
WHITELIST = ["mae_hydra.*", "torch.*", "torchvision.*", "timm.*", "torchmetrics.*"]


def build(node: DictConfig, key: str, *args: Any, **kwargs: Any) -> Any:
    """Build the object that `node` describes; `key` names the node in error messages.

    Containers are plain (no ListConfig reaches an object or a checkpoint). A `_partial_` node gives a plain
    `functools.partial`: Hydra's own re-checks its target at every call.
    """
    options: dict[str, Any] = {"_convert_": "all"}
    if hasattr(hydra.utils, "execution_whitelist"):
        options["_execution_whitelist_"] = WHITELIST
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


def complete(key: str, factory: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a `_partial_` with what only the run knows; what it refuses is the configuration's fault."""
    try:
        return factory(*args, **kwargs)
    except ValueError as error:
        raise UserError(f"{key}: {error}") from error


def _root_cause(error: BaseException) -> BaseException:
    """What first went wrong; a UserError speaks for whatever is behind it."""
    while error.__cause__ is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error
