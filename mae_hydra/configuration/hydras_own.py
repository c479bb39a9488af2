"""What Hydra builds for itself, before a job begins: callbacks, launcher, sweeper, loggers; judged before it does.

Hydra imports and calls whatever stands in `hydra.callbacks`, in the logging configuration, or behind `pkg://` in the
search path. It composes every configuration in one function and opens every folder in one: both ask here first. A third
names a group's options, for `--help`, shells and sweeps: without files that others build on (`option_files.options`).
"""

import functools
from collections.abc import Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.configuration.trust import TRUST, is_below, trusted_packages
from mae_hydra.errors import UserError, short

PLUGINS = (
    "hydra_plugins", "hydra._internal.core_plugins", "optuna.samplers", "optuna.pruners",
    "mae_hydra.experiment.sweeps.NoteSweep",
)  # fmt: skip
PACKAGES = ("hydra", "hydra_plugins", "mae_hydra")  # that hold option files
LOGGING = ("logging", "colorlog")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
# Keys of logging's own configuration whose values it imports and calls.
CALLED_BY_LOGGING = ("class", "()", "queue", "listener")


class WouldImport(UserError):
    """Hydra would import something that is not allowed; `key` says where that stands."""

    def __init__(self, key: str, what: str):
        self.key = key
        allowing = f"to allow a package of yours, set {TRUST}=<package>"
        super().__init__(f"{short(what)} is not taken: Hydra would import it; {allowing}")


def guard(loader: Any = ConfigLoaderImpl, repository: Any = ConfigRepository) -> None:
    """Judge what Hydra itself would build, from now on in this process; safe to call more than once."""
    if getattr(loader.load_configuration, "guarded", False):
        return
    load, open_sources = loader.load_configuration, repository.initialize_sources
    listed = repository.get_group_options

    @functools.wraps(load)
    def judged(*arguments: Any, **named: Any) -> DictConfig:
        config = load(*arguments, **named)
        for key, name in _named(config._get_node("hydra"), "hydra"):
            if not is_below(name, (*(LOGGING if _is_of_logging(key) else PLUGINS), *trusted_packages())):
                raise WouldImport(key, f"{key} = {name}")
        return config

    @functools.wraps(open_sources)
    def judged_sources(self: Any, config_search_path: ConfigSearchPath) -> None:
        for entry in config_search_path.get_path():
            scheme, _, place = str(entry.path).partition("://")
            package = place.strip("/").replace("/", ".")
            if scheme == "pkg" and not is_below(package, (*PACKAGES, *trusted_packages())):
                raise WouldImport("hydra.searchpath", f"the search path {entry.path}")
        open_sources(self, config_search_path)

    @functools.wraps(listed)
    def listed_options(*arguments: Any, **named: Any) -> list[str]:
        return [name for name in listed(*arguments, **named) if not name.startswith("_")]

    judged.guarded = True  # type: ignore[attr-defined]
    loader.load_configuration, repository.initialize_sources = judged, judged_sources
    repository.get_group_options = listed_options


def _is_of_logging(key: str) -> bool:
    return key.startswith(("hydra.job_logging.", "hydra.hydra_logging."))


def _named(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, dotted name) of all that Hydra or logging would import."""
    last = key.rpartition(".")[2]
    if last != "_target_" and not _is_of_logging(key) and _is_text(node):
        return
    node = _followed(node)
    if isinstance(node, (DictConfig, ListConfig)):
        held: Any = node._content  # a text, or nothing, where it holds none
        children = held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ()
        for name, child in children:
            yield from _named(child, f"{key}.{name}")
    elif node is not None:
        value = str(node._value())
        if (
            last == "_target_"
            or (_is_of_logging(key) and last in CALLED_BY_LOGGING)
            or (_is_of_logging(key) and "ext://" in value and value not in STREAMS)
        ):
            yield key, value


def _is_text(node: Any) -> bool:
    """Whether a value is a text with interpolations in it, and not one alone, which may lead to a whole node."""
    value = node._value() if node is not None and node._is_interpolation() else None
    return isinstance(value, str) and not (value.startswith("${") and value.endswith("}"))


def _followed(node: Any) -> Any:
    """What an interpolation leads to, which may be a whole node from elsewhere; itself where that is not known yet."""
    if node is None or not node._is_interpolation():
        return node
    try:
        return node._maybe_dereference_node(throw_on_resolution_failure=True)
    except OmegaConfBaseException:
        return node
