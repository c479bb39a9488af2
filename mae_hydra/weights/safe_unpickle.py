"""Python objects beside the tensors of a file: stood in for, never built.

Training programs put things of their own into a checkpoint (an argparse.Namespace, mmengine's HistoryBuffer, numpy
scalars). torch's restricted unpickler refuses them. Here it is given, for every such name, an inert class to build in
its place: nothing is imported, nothing is called. Modules that torch blocks outright (os, sys, …) stay refused.
"""

import itertools
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mae_hydra.archive import Unfit
from mae_hydra.names import encodable

MOST_TOLD = 200_000  # values beside the tensors: the names of 22 000 classes with their colours fit in
LARGEST = 2**63  # of whole numbers
MOST_NAMES = 64  # a file that asks for more is no checkpoint
# Names with which a pickle reaches out of itself; a training program has no reason to save them.
ACTIVE = re.compile(
    r"(builtins|__builtin__)\.(eval|exec|open|compile|input|breakpoint|__import__|globals|vars|setattr|delattr)\Z"
    r"|(_?io|os|posix|nt|sys|subprocess|commands|shutil|socket|runpy|importlib|pty|ctypes|webbrowser|code|pickle|marshal|torch\.hub"
    r"|torch\.serialization|urllib\d?|https?|httplib|multiprocessing|asyncio|signal|tempfile)\b.*"
)


class Foreign:
    """Stands for an object of a class that is not built; keeps the plain state it was saved with."""

    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Foreign":
        return object.__new__(cls)  # whatever it was built from is let go

    def __setstate__(self, state: Any) -> None:
        self.state = state


class ActivePickleError(Exception):
    """The file names something that acts when it is unpickled; the argument is that name."""


def load(file: Path, mmap: bool) -> tuple[Any, tuple[str, ...]]:
    """The content of a file of torch.save, and the names that were stood in for."""
    names: list[str] = []
    while True:
        stand_ins: list[Any] = [(_stand_in(name), name) for name in names]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap), tuple(names)
        except pickle.UnpicklingError as error:
            name = _refused_name(error)
            if name is None or name in names or len(names) == MOST_NAMES:
                raise
            if ACTIVE.match(name) or "module is blocked" in str(error):
                raise ActivePickleError(name) from error
            names.append(name)


def plain(value: Any) -> Any:
    """Numbers, texts, lists and dictionaries of `value`, 8 levels deep; of a foreign object its attributes, else None.

    Unfit where that is more than anybody has to tell: lists that hold one another twice grow without end.
    """
    return _plain(value, 8, itertools.count(1))


def _plain(value: Any, depth: int, counted: Iterator[int]) -> Any:
    if next(counted) > MOST_TOLD:
        raise Unfit(f"tells more than {MOST_TOLD:,} values beside its tensors, which no checkpoint needs")
    if isinstance(value, Foreign):
        value = value.state if isinstance(value.state, Mapping) else None
    if isinstance(value, str):
        return encodable(value)
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if abs(value) < LARGEST else None
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {_plain(str(key), 1, counted): _plain(item, depth - 1, counted) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth - 1, counted) for item in value]
    return None


def _stand_in(name: str) -> type[Foreign]:
    return type(name.rpartition(".")[2], (Foreign,), {})


def _refused_name(error: pickle.UnpicklingError) -> str | None:
    """torch names what it refused: "GLOBAL argparse.Namespace was not an allowed global", builtins without module."""
    match = re.search(r"GLOBAL (\S+)(?: was not an allowed| whose module)", str(error))
    if match is None:
        return None
    return match[1] if "." in match[1] else f"builtins.{match[1]}"
