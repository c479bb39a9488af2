"""Option files of one's own: the folders in which this job looks for them, and the words that say so to another one."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathElement
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.initialize import get_gh_backup, restore_gh_from_backup

from mae_hydra.configuration.command_words import searching, split, values
from mae_hydra.configuration.suggest import CLOSE, closest
from mae_hydra.configuration.tree import config_dir
from mae_hydra.errors import UserError

OURS = ("hydra", "schema")  # providers of sources that are always there
TYPED = "hydra.searchpath in command-line"
NAME_FLAGS = ("--config-name", "-cn")


def options_first(words: Sequence[str]) -> list[str]:
    """The words with the program's options before the others: argparse reads no override behind an option that stands
    between two. UserError at an option that there is none of."""
    options, overrides = split(words)
    known = list(get_args_parser()._option_string_actions)
    letters = tuple(name for name in known if not name.startswith("--"))
    for number, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if not flag.startswith("-") or any(name.startswith(flag) for name in known):
            continue  # argparse takes the beginning of a name, too
        if not equals and not flag.startswith("--") and flag.startswith(letters):
            continue  # and a value behind a letter: -cjob
        close = closest(flag, known, CLOSE) if flag.startswith("--") else None
        if close is not None:
            raise UserError(f"unknown option {flag}; did you mean {close}?")
        following = [*words[number + 1 : number + 2], "-"][0]
        given = value if equals else "…" if following.startswith("-") or "=" in following else following
        raise UserError(f"unknown option {flag}; keys are typed without dashes: {flag.lstrip('-')}={given}")
    return [*options, *overrides]


def own_sources() -> list[Any]:
    """The sources of this job's configuration that a person added: each has a `provider`, and a `path` with a
    `schema`."""
    ours = str(config_dir())
    sources = HydraConfig.get().runtime.config_sources
    return [source for source in sources if source.provider not in OURS and source.path != ours]


def folder_of(source: Any) -> str:
    """The folder in which the option files of a source lie, a package's too."""
    if source.schema == "pkg":
        spec = importlib.util.find_spec(source.path.strip("/").replace("/", "."))
        places = [] if spec is None else [str(place) for place in spec.submodule_search_locations or ()]
        return next(iter(places), f"{source.schema}://{source.path}")
    return os.path.abspath(source.path)


def words_for_another_process() -> list[str]:
    """What makes `mae-hydra train` look where this job looks, wherever it is started."""
    return list(_words()) if HydraConfig.initialized() else []


def _words() -> Iterator[str]:
    """The options of the program first: behind an override Hydra takes them, but no further override."""
    options = {"main": "--config-path", "command-line": "--config-dir"}
    for source in own_sources():
        if source.provider in options:
            yield from (options[source.provider], os.path.abspath(source.path))
    name = HydraConfig.get().job.config_name
    if name is not None and name != "config":
        yield from ("--config-name", name)
    yield from searching([_address(source) for source in own_sources() if source.provider == TYPED])


def _address(source: Any) -> str:
    path = os.path.abspath(source.path) if source.schema == "file" else source.path
    return f"{source.schema}://{path}"


@contextmanager
def looking_where(options: Sequence[str]) -> Iterator[str]:
    """Have `hydra.compose` look where a command line with these options does; gives the name of what is composed."""
    place = [*values(options, "--config-path", "-cp"), str(config_dir())][0]
    search = create_config_search_path(os.path.abspath(place))
    for folder in values(options, "--config-dir", "-cd"):  # a primary configuration is looked for here, too
        there = SearchPathElement("command-line", f"file://{os.path.abspath(folder)}")
        search.get_path().insert(-1, there)  # Hydra wants its schema to be the last
    backup = get_gh_backup()  # a job, or a notebook with Hydra of its own, may be running in this process
    GlobalHydra.instance().clear()
    try:
        Hydra.create_main_hydra2(task_name="train", config_search_path=search)
        yield [*values(options, *NAME_FLAGS), "config"][0]
    finally:
        restore_gh_from_backup(backup)
