"""What a configuration may build: one table, and the one function that decides by it.

A dotted name is judged twice: as text, before anything is imported, and then what it leads to, by where that was
defined and what it is (`mae_hydra.models.os` is no part, whatever `models` may import). See "What a configuration may
build" in docs/architecture.md.
"""

import importlib
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_type_hints

from mae_hydra.errors import UserError, short

# Who says what is to be built. "person": a command line, a notebook, option files. "file": a run directory, recorded
# overrides. "model": a checkpoint from anywhere, of which nothing but a model is wanted.
Origin = Literal["person", "file", "model"]

TRUST = "MAE_HYDRA_TRUST"  # environment: packages of one's own, separated by commas
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


CLASS = "builtins.object"
MODULE, OPTIMIZER = "torch.nn.modules.module.Module", "torch.optim.optimizer.Optimizer"
METRIC = "torchmetrics.metric.Metric"
# This package: room -> the groups of the configuration that it serves, and what the top node of each must be (CLASS:
# any). A name is exactly `<room>.<Name>`, public. Of functions only those are parts whose signature says that they give
# one of the room's things: those that write files or start processes give none.
ROOMS = {
    "mae_hydra.models": {"model": MODULE, "backbone": MODULE, "head": MODULE, "loss": MODULE},
    "mae_hydra.data": {"data": "mae_hydra.data.dataset.ImageData", "augment": CLASS},
    "mae_hydra.optim": {"optimizer": OPTIMIZER, "schedule": "mae_hydra.optim.schedules.Schedule"},
    "mae_hydra.inference": {"inference": CLASS},
    "mae_hydra.evaluation": {"evaluation": CLASS},
    "mae_hydra.engine": {
        "engine": "mae_hydra.engine.settings.Settings",
        "checkpoint": "mae_hydra.engine.checkpoint.Checkpoints",
        "callbacks": "mae_hydra.engine.callbacks.EarlyStopping",
    },
    "mae_hydra.launching.pruning": {"callbacks": CLASS},
    "mae_hydra.tracking": {"logger": CLASS},
}
# Libraries, for what a person says: classes at or below a module that are subclasses of the second name. Such a class
# computes; none starts a process, opens a connection or writes a file when it is built.
LIBRARIES = {
    "torch.nn": MODULE,
    "torch.optim": OPTIMIZER,
    "torch.optim.lr_scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "torchvision.transforms.v2": MODULE,
    "torchvision.models": MODULE,
    "torchvision.ops": MODULE,
    "torchmetrics.aggregation": METRIC,
    "torchmetrics.classification": METRIC,
    "torchmetrics.regression": METRIC,
    "torchmetrics.segmentation": METRIC,
    "timm.layers": MODULE,
    "timm.loss": MODULE,
    "timm.models": MODULE,
    "timm.optim": OPTIMIZER,
}
# Those of them that a run directory may name, too, and in which group: `optimizer=named` builds the same optimizers by
# name, and a metric of these modules counts. Neither takes a path, or a function that a file could give.
METRICS = ("aggregation", "classification", "regression", "segmentation")
RECORDED = {
    "optimizer": ("torch.optim", "timm.optim"),
    "evaluation": tuple(f"torchmetrics.{name}" for name in METRICS),
}


def judge(target: Any, key: str, origin: Origin) -> Any:
    """The class or function that `key`._target_ = `target` names, imported only where that is allowed.

    UserError, with the way out, where it is not, or where nothing of that name is.
    """
    said = f"{key}._target_ = {_shown(target)}" if key else f"_target_ = {_shown(target)}"
    if not isinstance(target, str) or not DOTTED.fullmatch(target):
        raise UserError(f"{said} is not built: a target is the dotted name of a class, such as mae_hydra.models.MAE")
    group = re.split(r"[.[]", key)[0]
    if not _may_be_imported(target, group, origin):
        raise UserError(f"{said} is not built; {_way_out(target, group, origin)}")
    try:
        part = _located(target)
    except UserError:
        raise
    except Exception as error:  # a package of the user's may fail in any way when it is imported
        raise UserError(f"{said} cannot be found ({type(error).__name__}: {error})".replace("\n", " ")) from error
    if inspect.ismodule(part) or not callable(part):
        raise UserError(f"{said} is not built: it is {_kind(part)}, not a class")
    if not _may_be_built(part, key, group, origin):
        what = f"{_kind(part)} of {_home(part) or 'unknown origin'}"
        raise UserError(f"{said} is not built: it is {what}; {_way_out(target, group, origin)}")
    return part


def trusted_packages() -> tuple[str, ...]:
    """The packages that the person named in the environment."""
    return tuple(name for name in map(str.strip, os.environ.get(TRUST, "").split(",")) if name)


def is_below(name: str, modules: Sequence[str] | Mapping[str, Any]) -> bool:
    """Whether a dotted name is one of `modules` or lies in one of them."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _may_be_imported(target: str, group: str, origin: Origin) -> bool:
    module, _, name = target.rpartition(".")
    if is_below(target, trusted_packages()) or (module in _rooms(group, origin) and not name.startswith("_")):
        return True
    return is_below(target, _libraries(group, origin))


def _may_be_built(part: Any, key: str, group: str, origin: Origin) -> bool:
    home, is_class = _home(part), inspect.isclass(part)
    if is_below(home, trusted_packages()):
        return True
    for room in _rooms(group, origin):
        if is_below(home, [room]):
            given = _ancestors(part if is_class else _given_by(part))
            wanted = {ROOMS[room].get(group, CLASS)} if key == group else {*ROOMS[room].values(), CLASS}
            return bool(given & (wanted if is_class else wanted - {CLASS}))
    return is_class and any(
        is_below(home, [module]) and LIBRARIES[module] in _ancestors(part) for module in _libraries(group, origin)
    )


def _libraries(group: str, origin: Origin) -> Sequence[str]:
    """The modules of libraries whose classes may be built in a group."""
    return tuple(LIBRARIES) if origin == "person" else RECORDED.get(group, ()) if origin == "file" else ()


def _rooms(group: str, origin: Origin) -> list[str]:
    """List the rooms of this package that serve a group; all where the key begins with no group."""
    if origin == "model":
        return ["mae_hydra.models"]
    serving = [name for name, groups in ROOMS.items() if group in groups]
    return serving or list(ROOMS)


def _located(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _home(part: Any) -> str:
    home = getattr(part, "__module__", None)
    return home if isinstance(home, str) else ""


def _given_by(function: Any) -> Any:
    """The class that a function says it returns; None where it says nothing that is a class."""
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None


def _ancestors(part: Any) -> set[str]:
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in part.__mro__} if inspect.isclass(part) else set()


def _kind(part: Any) -> str:
    return "a class" if inspect.isclass(part) else f"a {type(part).__name__}"


def _shown(target: Any) -> str:
    return short(target if isinstance(target, str) and DOTTED.fullmatch(target) else repr(target))


def _way_out(target: str, group: str, origin: Origin) -> str:
    rooms = " or ".join(f"{room}.*" for room in _rooms(group, origin))
    allowed = rooms if len(_rooms(group, origin)) < len(ROOMS) else "a part of mae_hydra"
    own = f"to allow a package of yours, set {TRUST}=<package>"
    if origin == "person":
        return f"what can be is {allowed}, and layers, optimizers, transforms and metrics of libraries; {own}"
    libraries = f", or of {', '.join(_libraries(group, origin))}," if _libraries(group, origin) else ""
    of_it = "as the model of a checkpoint" if origin == "model" else "from a file"
    return f"only {allowed}{libraries} is built {of_it}; {own}"
