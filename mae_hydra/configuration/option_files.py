"""What the option files of today's configuration tree say: a group's option by itself, and a target's arguments."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import OmegaConf

from mae_hydra.configuration.command_words import searching, texts
from mae_hydra.configuration.hydra_errors import explain, unknown_option
from mae_hydra.configuration.tree import config_dir
from mae_hydra.errors import UserError

Tree = dict[str, Any]
UNSET = "???"  # a value that the person, or another option, is to give


def groups(more: Sequence[Path] = ()) -> set[str]:
    """The names of all groups; `more`: folders of option files of one's own (`--config-dir`)."""
    places = [config_dir(), *more]
    return {folder.name for place in places for folder in place.iterdir() if folder.is_dir()}


def options(group: str, more: Sequence[Path] = ()) -> list[str]:
    """The names of a group's options; a file whose name begins with "_" is what others build on, and none itself."""
    files = {file.stem for place in [config_dir(), *more] for file in (place / group).glob("*.yaml")}
    return sorted(name for name in files if not name.startswith("_"))


def option(group: str, name: str, more: Sequence[Path] = ()) -> Tree:
    """What `group=name` puts at the key `group`, with its interpolations; nothing of the primary configuration.

    UserError, with the options that there are, where it is none.
    """
    there = options(group, more)
    if name not in there:
        raise UserError(unknown_option(group, name, there))
    return _composed([*searching([f"file://{path.absolute()}" for path in more]), f"+{group}={name}"]).get(group, {})


def paths() -> Tree:
    """Where data and outputs lie on this machine, as its `conf/local` and environment say."""
    own = (config_dir() / "local" / "default.yaml").is_file()
    node: Tree = _composed(["+paths=default", *(["+local=default"] if own else [])])["paths"]
    plain = OmegaConf.to_container(OmegaConf.create(node | {"run_dir": "."}), resolve=True)  # there is none
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def _composed(words: Sequence[str]) -> Tree:
    backup = get_gh_backup()  # a notebook may use Hydra for itself
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3", job_name="option"):
            content: Any = OmegaConf.to_container(compose(None, overrides=list(words)), resolve=False)
    except Exception as error:
        raise UserError(explain(error, words)) from error
    finally:
        restore_gh_from_backup(backup)
    tree: Tree = content
    return tree


def stated(target: str) -> Mapping[str, Sequence[Any]]:
    """What the option files give the arguments of `target`, by argument: values and interpolations, each once."""
    return _arguments().get(target, {})


@functools.cache
def _arguments() -> Mapping[str, Mapping[str, Sequence[Any]]]:
    stated: dict[str, dict[str, list[Any]]] = {}
    for content in _contents():
        for node in _calls(content):
            arguments = stated.setdefault(str(node["_target_"]), {})
            for name, value in node.items():
                if name != "_target_" and value not in (UNSET, *arguments.setdefault(name, [])):
                    arguments[name].append(value)
    return stated


@functools.cache
def texts_of_all() -> frozenset[str]:
    """Every text that stands in one of the option files of this package."""
    return frozenset(text for content in _contents() for text in texts(content))


def _contents() -> Iterator[Any]:
    yield from map(_content, sorted(config_dir().rglob("*.yaml")))


def _content(file: Path) -> Any:
    """What an option file says, together with the files beside it that it builds on."""
    content = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    defaults = content.get("defaults", []) if isinstance(content, dict) else []
    for name in defaults if isinstance(defaults, list) else []:
        if isinstance(name, str) and name.startswith("_") and name != "_self_":
            content = _content(file.with_name(f"{name}.yaml")) | content
    return content


def _calls(node: Any) -> Iterator[Tree]:
    """Every node below `node` that names a target."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "_target_" in node:
        yield node
    for child in children:
        yield from _calls(child)
