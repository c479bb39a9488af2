"""Hydra's reading and merging of option files, done once for the same files: half of what a small run costs.

A run composes twice, the second time to learn whether it is a sweep. What is remembered is found again by the files'
places, sizes and times of change, and handed out as a copy; words on the command line are applied anew each time.
"""

import functools
import os
import pickle
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.default_element import ResultDefault
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigSource


def remember() -> None:
    """From now on, in this process."""
    Plugins.instance()  # imports the sources under names of its own
    file, package = (SourcesRegistry.instance().resolve(scheme) for scheme in ("file", "pkg"))
    file.load_config = _once(file.load_config, _of_a_file)
    package.load_config = _once(package.load_config, _of_a_package)
    ConfigLoaderImpl._compose_config_from_defaults_list = _once(
        ConfigLoaderImpl._compose_config_from_defaults_list, _of_a_list
    )


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


def _of_a_file(source: ConfigSource, config_path: str) -> Hashable:
    path = os.path.realpath(os.path.join(source.path, source._normalize_file_name(config_path)))
    if not os.path.isfile(path):
        return None
    state = os.stat(path)
    return source.path, source.provider, config_path, path, state.st_ino, state.st_size, state.st_mtime_ns


def _of_a_package(source: ConfigSource, config_path: str) -> Hashable:
    return source.path, source.provider, config_path  # what is installed stays as it is


def _of_a_list(loader: ConfigLoaderImpl, defaults: Sequence[ResultDefault], repo: IConfigRepository) -> Hashable:
    return tuple((repr(each), _origin(each.config_path, repo)) for each in defaults)


def _origin(config_path: str | None, repo: IConfigRepository) -> Hashable:
    """The file that `config_path` is, as the repository finds it: in the first source that has it."""
    for source in repo.get_sources():
        if config_path is not None and source.is_config(config_path):
            return (_of_a_file if source.scheme() == "file" else _of_a_package)(source, config_path)
    return None
