"""How others name the same tensors. A layout is recognised by its names alone, never by the name of the file."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

State = Mapping[str, Tensor]


class Layout(NamedTuple):
    """`matches` sees the names; `to_native` renames (and where it must, reshapes) all tensors."""

    name: str
    matches: Callable[[Iterable[str]], bool]
    to_native: Callable[[State], dict[str, Tensor]]


def recognise(tensors: State) -> Layout | None:
    """The first layout whose names these are."""
    return next((layout for layout in LAYOUTS if layout.matches(tensors)), None)


def _all_start_with(*prefixes: str) -> Callable[[Iterable[str]], bool]:
    return lambda names: all(name.startswith(prefixes) for name in names)


def _is_official(names: Iterable[str]) -> bool:
    return {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= set(names)


OFFICIAL_NAMES = (  # (pattern, replacement): official MAE -> native, the first that fits
    (r"mask_token$", "decoder.mask_token"),
    (r"decoder_(pos_embed|embed|blocks|norm|pred)\b", r"decoder.\1"),
    (r"(cls_token|pos_embed|patch_embed|blocks|norm)\b", r"encoder.\1"),
)


def _from_official(tensors: State) -> dict[str, Tensor]:
    """Encoder and decoder side by side without a prefix; a name that is neither stays, for the report to show."""
    return {_rename(name, OFFICIAL_NAMES): tensor for name, tensor in tensors.items()}


def _rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        renamed, hits = re.subn(rf"\A{pattern}", replacement, name)
        if hits:
            return renamed
    return name


LAYOUTS = (
    Layout("mae_hydra, MAE", _all_start_with("encoder.", "decoder."), dict),
    Layout("mae_hydra, UPerNet", _all_start_with("encoder.", "pyramid.", "head.", "auxiliary."), dict),
    Layout("official MAE", _is_official, _from_official),
)
