"""Renaming in both directions by one table: what stands on the left is theirs, on the right ours."""

import re
from collections.abc import Mapping
from functools import cache

from torch import Tensor

State = Mapping[str, Tensor]
Pair = tuple[str, str]
"""A name on either side. `#` stands for a number and `*` for the rest of a name; both sides have the same ones."""


def to_native(tensors: State, pairs: tuple[Pair, ...]) -> dict[str, Tensor]:
    """Rename tensors to our names. A name that no pair knows stays as it is, for a report to show."""
    return {_renamed(name, pairs): tensor for name, tensor in tensors.items()}


def from_native(tensors: State, pairs: tuple[Pair, ...]) -> dict[str, Tensor]:
    """Rename tensors to their names: the inverse of `to_native`."""
    return to_native(tensors, _swapped(pairs))


def known(name: str, pairs: tuple[Pair, ...]) -> bool:
    """Whether the table has this name of ours."""
    return any(_pattern(ours).fullmatch(name) for _, ours in pairs)


def _renamed(name: str, pairs: tuple[Pair, ...]) -> str:
    for left, right in pairs:
        match = _pattern(left).fullmatch(name)
        if match:
            return re.sub(r"[#*]", "{}", right).format(*match.groups())
    return name


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\#", r"(\d+)").replace(r"\*", "(.+)"))


@cache
def _swapped(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    return tuple((right, left) for left, right in pairs)
