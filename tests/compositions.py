"""Hydra's reading and merging of option files, done once for the same files: half of what a small run costs.

A run composes twice, the second time to learn whether it is a sweep. What is remembered is found again by the files'
places, sizes and times of change, and handed out as a copy; words on the command line are applied anew each time. So
are words read, and configurations made of plain values, once for the same ones.
"""

import copy
import functools
import os
import pickle
import re
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import omegaconf._utils
import omegaconf.base
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mae_hydra.configuration.tree import config_dir

OWN = str(config_dir())
INSTALLED = ("hydra", "mae_hydra")
LARGE = 8  # keys of a whole configuration; smaller ones are made as fast


def remember() -> None:
    """From now on, in this process."""
    Plugins.instance()  # imports the sources under names of its own
    file, package = (SourcesRegistry.instance().resolve(scheme) for scheme in ("file", "pkg"))
    for asked, kind in ((file, "is_config"), (package, "is_config"), (package, "is_group")):
        setattr(asked, kind, _once(getattr(asked, kind), _of_the_program))
    overrides_parser.create_functions = functools.cache(overrides_parser.create_functions)
    OverridesParser.parse_rule = _read_once(OverridesParser.parse_rule)
    OmegaConf._create_impl = staticmethod(_made_once(OmegaConf._create_impl))
    DictConfig.__deepcopy__ = _packed(DictConfig.__deepcopy__)
    # Trees of `${...}`, which are only read.
    omegaconf.base.parse = omegaconf._utils.parse = functools.lru_cache(4096)(omegaconf.base.parse)
    defaults_list._create_interpolation_map = _where_asked(defaults_list._create_interpolation_map)
    ConfigRepository.load_config = _shared(ConfigRepository.load_config)
    ConfigRepository.__deepcopy__ = lambda self, _: copy.copy(self)  # Hydra's own copies the ConfigStore with it
    loader = ConfigLoaderImpl
    config_loader_impl.create_defaults_list = _listed_once(config_loader_impl.create_defaults_list)
    loader._load_single_config = _unless_merged(_once(_from_copies(loader._load_single_config), _of_a_default))
    whole = loader._compose_config_from_defaults_list
    loader._compose_config_from_defaults_list = _once(_begun(whole), _of_a_list)
    loader._load_configuration_impl = _twice(loader._load_configuration_impl)


def _once(function: Callable[..., Any], key: Callable[..., Hashable]) -> Callable[..., Any]:
    found: dict[Hashable, bytes] = {}

    @functools.wraps(function)
    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        known_by = key(self, *arguments, **named)
        if known_by is None:
            return function(self, *arguments, **named)
        if known_by not in found:
            found[known_by] = pickle.dumps(function(self, *arguments, **named))
        return pickle.loads(found[known_by])

    return called


def _read_once(parse: Callable[..., Any]) -> Callable[..., Any]:
    """A word of a command line is read by each who looks for something in it."""
    read = functools.lru_cache(4096)(parse)

    @functools.wraps(parse)
    def parsed(self: OverridesParser, s: str, rule_name: str) -> Any:
        if "shuffle" in s:  # what that draws
            return parse(self, s, rule_name)
        return copy.copy(read(_PLAIN, s, rule_name))

    return parsed


_PLAIN = OverridesParser.create()


def _made_once(create: Callable[..., Any]) -> Callable[..., Any]:
    """A recorded configuration is made by each who looks at it, from the same plain values."""

    @functools.lru_cache(4096)
    def part(values: bytes) -> bytes:
        return pickle.dumps(create(pickle.loads(values)))

    def in_parts(content: dict[str, Any]) -> DictConfig:
        whole = create({key: {} if type(value) is dict else value for key, value in content.items()})
        for key, value in content.items():
            if type(value) is dict and value:
                node = pickle.loads(part(pickle.dumps(value)))
                node._metadata.key, node.__dict__["_parent"] = key, whole
                whole.__dict__["_content"][key] = node
        return whole

    @functools.wraps(create)
    def created(obj: Any = _NOTHING, parent: Any = None, flags: Any = None) -> Any:
        if parent is None and not flags and type(obj) is dict and len(obj) >= LARGE:
            with suppress(Exception):  # raised below, with the whole key
                return in_parts(obj)
        return create(parent=parent, flags=flags, **({} if obj is _NOTHING else {"obj": obj}))

    return created


_NOTHING = object()


def _packed(deepcopy: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """By pickling, several times as fast as node by node; as with those the parent stays the same."""

    def copied(self: DictConfig, memo: Any) -> DictConfig:
        parent = self.__dict__["_parent"]
        try:
            self.__dict__["_parent"] = None
            made = pickle.loads(pickle.dumps(self))
        except (RecursionError, TypeError, AttributeError, pickle.PicklingError):  # it holds something else
            self.__dict__["_parent"] = parent
            return deepcopy(self, memo)
        finally:
            self.__dict__["_parent"] = parent
        made.__dict__["_parent"] = parent
        return made

    return copied


class _Defaults(list[InputDefault]):
    """A list of defaults, of which Hydra takes a deep copy each time."""

    def __deepcopy__(self, _: Any) -> list[InputDefault]:
        return pickle.loads(pickle.dumps(list(self)))


def _shared(load: Callable[[ConfigRepository, str], ConfigResult | None]) -> Callable[..., ConfigResult | None]:
    """The same content for all who ask for it: to find the list of defaults it is only looked at."""
    found: dict[Hashable, ConfigResult | None] = {}

    @functools.wraps(load)
    def loaded(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        known_by = source and _of_a_file(source, config_path)
        if known_by is None:
            return load(self, config_path)
        if known_by not in found:
            found[known_by] = load(self, config_path)
            found[known_by].defaults_list = _Defaults(found[known_by].defaults_list)
        return found[known_by]

    return loaded


def _from_copies(load: Callable[..., ConfigResult]) -> Callable[..., ConfigResult]:
    """What is merged is changed by it."""

    def loaded(self: ConfigLoaderImpl, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        copied = copy.copy(repo)
        copied.load_config = lambda config_path: pickle.loads(pickle.dumps(repo.load_config(config_path)))
        return load(self, default, copied)

    return loaded


def _listed_once(create: Callable[..., DefaultsList]) -> Callable[..., DefaultsList]:
    """Which files are merged follows from the options that are chosen, whatever values are typed beside them."""
    found: dict[Hashable, tuple[bytes, DefaultsList]] = {}

    @functools.wraps(create)
    def created(
        *, repo: Any, config_name: str, overrides_list: Sequence[Override], prepend_hydra: bool, skip_missing: bool
    ) -> DefaultsList:
        told = {"repo": repo, "config_name": config_name, "prepend_hydra": prepend_hydra, "skip_missing": skip_missing}
        sources = tuple((source.path, source.provider) for source in repo.get_sources())
        several = any(override.is_sweep_override() for override in overrides_list)
        if several or not all(_installed(source) or source.scheme() == "structured" for source in repo.get_sources()):
            return create(overrides_list=overrides_list, **told)
        values = [
            each
            for each in overrides_list
            if isinstance(each.value(), dict) or not repo.group_exists(each.key_or_group)
        ]
        options = tuple(each.input_line for each in overrides_list if each not in values)
        known_by = (config_name, prepend_hydra, skip_missing, sources, options)
        if known_by not in found:
            made = create(overrides_list=overrides_list, **told)
            found[known_by] = pickle.dumps(made.defaults), made
        defaults, made = found[known_by]
        return replace(made, defaults=pickle.loads(defaults), config_overrides=values)

    return created


class _Merged(ResultDefault):
    """Stands for files that are merged already."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config_path="hydra/config")
        self.result = ConfigResult("", "", config, {"package": None})


def _unless_merged(load: Callable[..., ConfigResult]) -> Callable[..., ConfigResult]:
    return lambda self, default, repo: default.result if isinstance(default, _Merged) else load(self, default, repo)


def _begun(compose: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Each list begins with Hydra's own files, a third of all, and mostly with the same."""
    begin = _once(compose, _of_a_list)

    def composed(self: ConfigLoaderImpl, defaults: Sequence[ResultDefault], repo: IConfigRepository) -> DictConfig:
        own = next((place for place, each in enumerate(defaults) if not each.config_path.startswith("hydra/")), 0)
        return compose(self, [_Merged(begin(self, defaults[:own], repo)), *defaults[own:]], repo)

    return composed


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
    return (source.path, source.provider, config_path) if _installed(source) else None


def _installed(source: ConfigSource) -> bool:
    return source.path == OWN or (source.scheme() == "pkg" and source.path.partition(".")[0] in INSTALLED)


def _of_a_file(source: ConfigSource, config_path: str) -> Hashable:
    if (known_by := _of_the_program(source, config_path)) is not None:
        return known_by
    name = source._normalize_file_name(config_path)
    if source.scheme() == "structured":  # launching puts a sweeper of ours in the place of Hydra's own
        return source.provider, name, source.store._load(name).provider
    try:
        state = os.stat(os.path.join(source.path, name))
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
    states = [_of_a_default(loader, each, repo) for each in defaults]
    return None if None in states else tuple(states)


def _of_a_default(_: ConfigLoaderImpl, default: ResultDefault, repo: IConfigRepository) -> Hashable:
    """The default itself and the file that it is, as the repository finds it: in the first source that has it."""
    for source in repo.get_sources():
        if default.config_path is not None and source.is_config(default.config_path):
            state = _of_a_file(source, default.config_path)
            return None if state is None else (repr(default), state)
    return None
