"""The only caller of Hydra's `instantiate`: from a config node to an object, with errors a person can act on."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig

from mae_hydra.configuration.suggest import known_keys, typed
from mae_hydra.configuration.trust import Origin, judge
from mae_hydra.errors import UserError, short


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
    known = known_keys(node._get_root())  # before Hydra resolves what follows another key
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
            raise UserError(_with_key(_key_of(error, key), known, root)) from error
        if origin != "person":  # whatever goes wrong in a part that it names, the file is not right
            raise UserError(f"{key} cannot be built ({type(root).__name__}: {_first_line(root)})") from error
        raise
    if isinstance(made, functools.partial):
        return functools.partial(made.func, *made.args, **made.keywords)
    return made


PARTS = {"evaluation": "evaluator", "callbacks": "callback", "logger": "tracker"}  # what the nodes of a group are


def nodes_of(config: DictConfig, group: str) -> dict[str, DictConfig]:
    """The parts of `group`, one of PARTS, by name; UserError for a node that is none, for want of a `_target_`.

    Where evaluation=none has taken all evaluators out, a preset's settings for them are no mistake.
    """
    nodes = {str(name): node for name, node in config[group].items()}
    calls = {name: node for name, node in nodes.items() if isinstance(node, DictConfig) and "_target_" in node}
    for name in nodes.keys() - calls.keys():
        if not isinstance(nodes[name], DictConfig):
            raise UserError(
                f"{group}.{name} is {short(nodes[name])}, and no {PARTS[group]}; leave it out with ~{group}.{name}"
            )
        if calls or group != "evaluation":
            raise UserError(f"{group}.{name} has no _target_, which says what the {PARTS[group]} is")
    return calls


def complete(key: str, factory: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a `_partial_` with what only the run knows; what it refuses is the configuration's fault."""
    try:
        return factory(*args, **kwargs)
    except (ValueError, TypeError) as error:
        given: dict[str, str | None] = dict.fromkeys(f"{key}.{name}" for name in getattr(factory, "keywords", {}))
        raise UserError(_with_key(key, given, error)) from error


def expect(key: str, made: Any, owed: Sequence[str]) -> Any:
    """`made`, the part at `key`, whoever wrote it; UserError where it lacks one of the names that are `owed`."""
    lacking = [name for name in owed if not hasattr(made, name)]
    if lacking:
        raise UserError(
            f"{key} gives a {type(made).__name__}, which has no {', '.join(lacking)}; docs/extending.md says what "
            "a part owes"
        )
    return made


def _key_of(error: InstantiationException, key: str) -> str:
    """The key of the part, below the one at `key` or that one itself, whose building failed, as Hydra tells it."""
    match = re.search(r"full_key: (\S+)$", str(error))
    if match is None or match[1] == key:
        return key
    return match[1] if match[1].startswith(f"{key}.") else f"{key}.{match[1]}"


def _with_key(key: str, known: Mapping[str, str | None], error: BaseException) -> str:
    """What an object says of its own argument ("depth must …"), with the key at which a person gives that argument."""
    sentence = str(error)
    if sentence.startswith(f"{key.partition('.')[0]}."):
        return sentence
    name, _, rest = sentence.partition(" ")
    given = typed(known, f"{typed(known, key)}.{name}")
    if name.isidentifier() and (given in known or f"{typed(known, key)}.{name}" in known):
        return f"{given} {rest}"
    return f"{typed(known, key)}: {sentence}"


def targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(key, target) of every `_target_` below `node`, of OmegaConf or plain, whatever stands there as one; `key` is
    that of `node`, empty for a whole configuration."""
    if isinstance(node, (list, tuple, ListConfig)):
        for position, child in enumerate(node):
            yield from targets(child, f"{key}[{position}]")
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node["_target_"]
        for name, child in node.items():  # a name may be a number
            yield from targets(child, f"{key}.{name}" if key else str(name))


def _texts(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """(key, text) of every text below `node`, resolved."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, ListConfig):
        for position, child in enumerate(node):
            yield from _texts(child, f"{key}[{position}]")
    elif isinstance(node, DictConfig):
        for name, child in node.items():
            yield from _texts(child, ".".join((key, str(name))))


def _root_cause(error: BaseException) -> BaseException:
    """What first went wrong; a UserError speaks for whatever is behind it."""
    while error.__cause__ is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
