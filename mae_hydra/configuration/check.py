"""Every `_target_` of a configuration against the signature of what it names, before anything is built.

A misspelt key in a YAML file, a missing one, and a part that does not fit its owner (`head=upernet` under a MAE) are
found here, with the key named. Building nothing, it also runs in the tests over every option of every group.
"""

import difflib
import inspect
import re
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from mae_hydra.configuration.suggest import ADDED, known_keys, meant_by, typed
from mae_hydra.configuration.trust import Origin, judge
from mae_hydra.errors import UserError, short

HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
# The keys of the root that are not groups, with what they may hold. Everything else sits under a `_target_`.
ROOT_KEYS: dict[str, Any] = {
    "name": str,
    "task": str,
    "group": str | None,
    "seed": int,
    "init_from": str | None,
    "init_adapt": list,
    "resume": str | None,
    "resume_data": Literal["same", "changed"],
    "fail_fast": bool,
    "then": dict,
    "sweep": dict,
    "tags": list,
    "notes": str | None,
}
GROUPS = (
    "model", "encoder", "backbone", "head", "loss", "data", "augment", "schedule", "inference", "evaluation",
    "optimizer", "engine", "checkpoint", "callbacks", "logger", "paths",
)  # fmt: skip
SCALARS = (bool, int, float, str, type(None))
Values = dict[int, dict[Any, Any]]  # of each node by its id: what it holds, by key or position


def check(config: DictConfig, origin: Origin = "person") -> None:
    """Raise a UserError naming the first thing that does not fit.

    `config` is a whole configuration or a part of one; `origin`: who says what is in it (see `trust`).
    """
    try:
        values: Values = {}
        missing = sorted(_read(config, values))
        if missing:
            raise UserError(f"{', '.join(missing)} must be given a value, e.g. {missing[0]}=…")
        for complaint in (*_root_complaints(config), *_complaints(config, "", origin, values)):
            raise UserError(complaint)
    except OmegaConfBaseException as error:
        raise UserError(_unresolved(str(error).splitlines()[0], str(error.full_key or "another option"))) from error


def _unresolved(message: str, key: str) -> str:
    missing = re.search(r"Missing mandatory value: (\S+)", message)
    if missing:
        return f"{missing[1]} must be given a value, e.g. {missing[1]}=…"
    absent = re.search(r"Interpolation key '([^']+)' not found", message)
    if absent:
        groups = dict.fromkeys(
            name for name in (key.partition(".")[0], absent[1].partition(".")[0], "model") if name in GROUPS
        )
        others = " or ".join(f"{group}=" for group in groups)
        return f"{key} refers to {absent[1]}, which is not there: choose another {others}"
    said = message.partition("raised while resolving interpolation: ")[2]
    return said or f"the configuration does not resolve: {message}"


def _root_complaints(config: DictConfig) -> Iterator[str]:
    for name in map(str, config):
        if name in ROOT_KEYS:
            yield from _wrong_type(name, ROOT_KEYS[name], config[name])
        elif name not in GROUPS:
            known = {key: followed for key, followed in known_keys(config).items() if key != name}
            meant = meant_by(name, known) or f"groups: {', '.join((*GROUPS, *ADDED))}"
            yield f"unknown key '{name}'; {meant}"


def _read(node: Any, values: Values) -> set[str]:
    """Read what is in a node and below it, which resolves each interpolation once; returns the keys that hold `???`."""
    missing: set[str] = set()
    if not isinstance(node, (DictConfig, ListConfig)) or id(node) in values:
        return missing
    own = values[id(node)] = {}
    keys: Iterable[Any] = range(len(node)) if isinstance(node, ListConfig) else node
    for key in keys:
        try:
            own[key] = node[key]
        except MissingMandatoryValue:
            missing.add(node._get_full_key(key))
        else:
            missing |= _read(own[key], values)
    return missing


def _complaints(node: Any, key: str, origin: Origin, values: Values) -> Iterator[str]:
    """One sentence for each argument that a target does not take, lacks, or cannot accept."""
    if isinstance(node, ListConfig):
        for position, child in values[id(node)].items():
            yield from _complaints(child, f"{key}[{position}]", origin, values)
    if not isinstance(node, DictConfig):
        return
    own = values[id(node)]
    if "_target_" in own:
        yield from _signature_complaints(node, key, origin, own)
    # The model first: a part that does not fit it explains more than the arguments which that part does not take.
    for name in sorted(own, key=lambda name: name != "model"):
        yield from _complaints(own[name], f"{key}.{name}" if key else str(name), origin, values)


def _signature_complaints(node: DictConfig, key: str, origin: Origin, own: Mapping[Any, Any]) -> Iterator[str]:
    target = judge(own["_target_"], key, origin)
    parameters = _parameters(target)
    if parameters is None:
        return
    given = {str(name) for name in own} - HYDRA_KEYS
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in () if takes_any else sorted(given - set(parameters)):
        close = difflib.get_close_matches(str(name), list(parameters), n=1)
        given_at = typed(known_keys(node._get_root()), f"{key}.{name}")
        takes = f"it takes {', '.join(parameters)} (~{given_at} removes it)"
        hint = f"did you mean '{close[0]}'?" if close else takes
        yield f"{given_at} is not an argument of {target.__name__}; {hint}"
    if key == "optimizer" and not own.get("_partial_", False):
        yield "optimizer needs _partial_: true: it is built when there is a model"
    elif not own.get("_partial_", False) and "_args_" not in own:
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        required = {n for n, p in parameters.items() if p.default is p.empty and p.kind not in variadic}
        for name in sorted(required - given):
            yield f"{key}.{name} is missing: {target.__name__} needs it"
    hints = _hints(target)
    for name in sorted(given & set(hints)):
        part = own[name]
        if not _accepts(hints[name], part):
            given_at = typed(known_keys(node._get_root()), f"{key}.{name}")
            whose = f" for {target.__name__}" if isinstance(part, ListConfig) and given_at != f"{key}.{name}" else ""
            yield from _wrong_type(given_at, hints[name], part, whose)
        if isinstance(part, DictConfig) and "_target_" in part and not part.get("_partial_", False):
            offered = judge(part["_target_"], f"{key}.{name}", origin)
            yield from _misfit(f"{key}.{name}", hints[name], offered)


def _parameters(target: Any) -> Mapping[str, inspect.Parameter] | None:
    """List the parameters of a target; None where a class keeps them to itself, as some of libraries do."""
    try:
        return inspect.signature(target).parameters
    except (ValueError, TypeError):
        return None


def _hints(target: Any) -> dict[str, Any]:
    """Resolve type hints outside of the module that they stand in, where that can be done; of libraries not all can."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError, AttributeError):
        return {}


def _misfit(key: str, wanted: Any, offered: Any) -> Iterator[str]:
    """A complaint where the annotation of the argument is a class and the part is of another, or a protocol whose
    methods the part does not have; what a protocol owes besides is looked at when the model is built."""
    kinds = [kind for kind in getattr(wanted, "__args__", [wanted]) if inspect.isclass(kind) and kind is not type(None)]
    if not kinds or not inspect.isclass(offered) or Any in kinds:
        return
    lacking = [_lacking(offered, kind) for kind in kinds]
    if all(lacking):
        names = " or ".join(kind.__name__ for kind in kinds)
        what = "".join(f" without {', '.join(names)}" for names in lacking[:1] if isinstance(names, list))
        yield (
            f"{key} must be a {names}, got a {offered.__name__}{what}: choose a {_group(key)}= that fits the "
            "model, or leave it to model="
        )


def _group(key: str) -> str:
    """The group whose options stand at a key of the model."""
    name = key.rpartition(".")[2]
    return {"encoder": "backbone", "decoder": "head", "auxiliary": "head"}.get(name, name)


def _lacking(offered: type, kind: type) -> bool | list[str]:
    """What a class lacks to be of a kind: something, or of a protocol which members.

    A member may be a method, an attribute, an annotation, an argument of the class, or a name in the code of its
    methods, which set what an object has. What passes by mistake is seen when the model is built.
    """
    if not getattr(kind, "_is_protocol", False):
        return not issubclass(offered, kind)
    ancestors = [ancestor for ancestor in kind.__mro__ if getattr(ancestor, "_is_protocol", False)]
    members = {name for ancestor in ancestors for name, member in vars(ancestor).items() if inspect.isfunction(member)}
    members |= {name for ancestor in ancestors for name in vars(ancestor).get("__annotations__", {})}
    mentioned = _mentioned(offered)
    if mentioned & {"__getattr__", "setattr", "__dict__"}:
        return False
    annotated = {name for ancestor in offered.__mro__ for name in vars(ancestor).get("__annotations__", {})}
    known = mentioned | annotated | set(_parameters(offered) or {})
    return sorted(name for name in members if name[0] != "_" and name not in known and not hasattr(offered, name))


def _mentioned(offered: type) -> set[str]:
    """The names of methods of a class and its ancestors, and those that their code uses; without torch's own."""
    methods = {
        name: inspect.unwrap(method)
        for ancestor in offered.__mro__
        if not ancestor.__module__.startswith("torch.")
        for name, method in vars(ancestor).items()
        if inspect.isfunction(method)
    }
    return set(methods) | {name for method in methods.values() for name in method.__code__.co_names}


def _wrong_type(key: str, hint: Any, value: Any, whose: str = "") -> Iterator[str]:
    """`whose`: the part that asks for it, where the value itself stands elsewhere and other parts take it."""
    if not _accepts(hint, value):
        yield f"{key} must be {' or '.join(_words(hint))}{whose}, got {short(repr(value))}"


def _accepts(hint: Any, value: Any) -> bool:
    """Whether a configured value can be what the annotation says; what cannot be judged passes."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_accepts(kind, value) for kind in get_args(hint))
    if get_origin(hint) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))  # True == 1
    if hint in (bool, int, str, type(None)):
        return type(value) is hint
    if hint is float:
        return type(value) in (int, float)
    if hint in (Any, object):  # classes to `inspect`
        return True
    if get_origin(hint) is Sequence and isinstance(value, (list, tuple, ListConfig)):
        return all(_accepts(get_args(hint)[0], element) for element in value)
    if inspect.isclass(get_origin(hint) or hint):  # a container, or the class of a part that another node builds
        return not isinstance(value, SCALARS)
    return True


def _words(hint: Any) -> list[str]:
    if get_origin(hint) in (Union, types.UnionType):
        return [word for kind in get_args(hint) for word in _words(kind)]
    if get_origin(hint) is Literal:
        return [repr(choice) for choice in get_args(hint)]
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    kind = get_origin(hint) or hint
    if get_origin(hint) is Sequence:
        return [f"a list of {' or '.join(_words(get_args(hint)[0])).removeprefix('a ')}s"]
    return [words.get(kind) or ("a list" if issubclass(kind, Collection) else f"a {kind.__name__}")]
