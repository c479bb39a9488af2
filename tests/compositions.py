"""Hydra's reading and merging of option files, done once for the same files: half of what a small run costs.

A run composes twice, the second time to learn whether it is a sweep. What is remembered is found again by the files'
places, sizes and times of change, and handed out as a copy; words on the command line are applied anew each time.
"""

import functools
import os
import pickle
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import omegaconf._utils
import omegaconf.base
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource
from hydra.types import RunMode

from mae_hydra.configuration.tree import config_dir

OWN = str(config_dir())
INSTALLED = ("hydra", "mae_hydra")


def remember() -> None:
    """From now on, in this process."""
    Plugins.instance()  # imports the sources under names of its own
    file, package = (SourcesRegistry.instance().resolve(scheme) for scheme in ("file", "pkg"))
    for source, known_by in ((file, _of_a_file), (package, _of_the_program)):
        source.load_config = _once(source.load_config, known_by)
        source.is_config = _once(source.is_config, _of_the_program)
    package.is_group = _once(package.is_group, _of_the_program)
    # Trees of `${...}`, which are only read.
    omegaconf.base.parse = omegaconf._utils.parse = functools.lru_cache(4096)(omegaconf.base.parse)
    defaults_list._create_interpolation_map = _where_asked(defaults_list._create_interpolation_map)
    ConfigLoaderImpl._compose_config_from_defaults_list = _once(
        ConfigLoaderImpl._compose_config_from_defaults_list, _of_a_list
    )
    ConfigLoaderImpl._load_configuration_impl = _twice(ConfigLoaderImpl._load_configuration_impl)


def _once(function: Callable[..., Any], key: Callable[..., Hashable]) -> Callable[..., Any]:
    found: dict[Hashable, bytes] = {}

    @functools.wraps(function)
    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        known_by = key(self, *arguments, **named)
        if known_by is None:
            return function(self, *arguments, **named)
        if known_by not in found:
            found[known_by] = pickle.dumps(function(self, *arguments, **named))
        return pickle.loads(found[known_by])  # several times as fast as copy.deepcopy

    return called


def _twice(load: Callable[..., Any]) -> Callable[..., Any]:
    """The first composition of a run, of which only the mode is read, is its second one, too.

    Not where a word may stand for several values, or an option is left open: the second one refuses these.
    """
    last: dict[Hashable, Any] = {}

    @functools.wraps(load)
    def loaded(self: Any, *, config_name: str, overrides: Sequence[str], **told: Any) -> Any:
        known_by = (id(self), config_name, tuple(overrides), told["from_shell"], os.getcwd())
        first = not told["validate_sweep_overrides"]
        if not first and told["run_mode"] == RunMode.RUN and known_by in last:
            return last.pop(known_by)
        last.clear()
        found = load(self, config_name=config_name, overrides=overrides, **told)
        several = any({",", "("} & set(re.sub(r"\[[^\[\]]*\]|{[^{}]*}", "", word)) for word in overrides)
        if first and not several and "???" not in found.hydra.runtime.choices.values():
            last[known_by] = found
        return found

    return loaded


def _of_the_program(source: ConfigSource, config_path: str) -> Hashable:
    """What came with the program, and with Hydra, stays as it is for as long as a process of tests runs."""
    installed = source.path == OWN or (source.scheme() == "pkg" and source.path.partition(".")[0] in INSTALLED)
    return (source.path, source.provider, config_path) if installed else None


def _of_a_file(source: ConfigSource, config_path: str) -> Hashable:
    if (known_by := _of_the_program(source, config_path)) is not None:
        return known_by
    try:
        state = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
    except OSError:
        return None
    return source.path, source.provider, config_path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _where_asked(choices: Callable[..., Any]) -> Callable[..., Any]:
    """What has been chosen so far, only for a file in which one choice follows another; Hydra makes it for each."""

    def made(overrides: Any, defaults: Sequence[InputDefault], self_added: bool) -> Any:
        follows = any(default.is_interpolation() for default in defaults)
        return choices(overrides, defaults, self_added) if follows else None

    return made


def _of_a_list(loader: ConfigLoaderImpl, defaults: Sequence[ResultDefault], repo: IConfigRepository) -> Hashable:
    # Launching puts a sweeper of ours in the place of Hydra's own, which is in no file.
    sweeper = ConfigStore.instance().repo["hydra"]["sweeper"]["basic.yaml"].provider
    return (sweeper, *((repr(each), _origin(each.config_path, repo)) for each in defaults))


def _origin(config_path: str | None, repo: IConfigRepository) -> Hashable:
    """The file that `config_path` is, as the repository finds it: in the first source that has it."""
    for source in repo.get_sources():
        if config_path is not None and source.is_config(config_path):
            return _of_a_file(source, config_path)
    return None
