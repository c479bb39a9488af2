"""Out again: our tensors in the layout that others read, as far as that layout can hold the model."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.weights.layouts import huggingface, mmseg, official
from mae_hydra.weights.layouts.layout import Layout
from mae_hydra.weights.layouts.names import State, known
from mae_hydra.weights.layouts.native import NATIVE, WORDS, Kind, kind_of, num_cls_tokens

BY_TARGET: Mapping[str, Mapping[Kind, Layout]] = {
    "official": {
        "mae": official.OFFICIAL_FULL,
        "encoder": official.OFFICIAL_ENCODER,
        "classifier": official.OFFICIAL_CLASSIFIER,
        "probe": official.OFFICIAL_PROBE,
    },
    "timm": {
        "mae": official.OFFICIAL_ENCODER,
        "encoder": official.OFFICIAL_ENCODER,
        "classifier": official.OFFICIAL_CLASSIFIER,
        "segmentation": official.OFFICIAL_ENCODER,
    },
    "huggingface": {"mae": huggingface.FULL, "encoder": huggingface.ENCODER},
    "mmseg": {
        "mae": mmseg.CONVERTED,
        "encoder": mmseg.CONVERTED,
        "classifier": mmseg.CONVERTED,
        "segmentation": mmseg.UPERNET,
    },
    "native": dict.fromkeys(WORDS, NATIVE),
}


# The same for a ViT of several cls tokens; what is not here holds it as it is, or not at all.
OF_SEVERAL_TOKENS: Mapping[str, Mapping[Kind, Layout]] = {
    "timm": dict.fromkeys(("mae", "encoder"), official.TIMM_REGISTERS),
    "huggingface": dict.fromkeys(("mae", "encoder"), huggingface.PIXIO),
    "mmseg": {},
}


class Export(NamedTuple):
    """`left_out`: names, ours, of what the layout has no place for; the numbers of what it holds stay the same."""

    tensors: dict[str, Tensor]
    layout: Layout
    left_out: tuple[str, ...]


def to_layout(tensors: State, target: str) -> Export:
    """`tensors`, under our names, in the layout `target`.

    UserError where the layout cannot hold the model, or could only with other numbers.
    """
    kind = kind_of(tensors.keys())
    if target not in BY_TARGET:
        raise UserError(f"there is no layout {target!r}; there are {', '.join(BY_TARGET)}")
    tokens = num_cls_tokens(tensors)
    by_target = {**BY_TARGET, **(OF_SEVERAL_TOKENS if tokens > 1 else {})}
    layout = by_target[target].get(kind)
    if layout is None:
        others = [name for name, kinds in by_target.items() if kind in kinds]
        what = f"{WORDS[kind]} of {tokens} cls tokens" if tokens > 1 else WORDS[kind]
        raise UserError(f"the {target} layout has no place for {what}; choose --to {' or '.join(others)}")
    kept, left_out = _with_place(tensors, target, kind, alone=layout is huggingface.PIXIO)
    if any(_is_extra(name) for name in kept):
        if target == "timm" and tokens == 1:
            layout = official.TIMM_BEIT
        elif target in ("official", "huggingface", "timm"):
            kept, neutral = _without_extras(kept, target)
            left_out += neutral
    strangers = (
        [] if target == "native" else [name for name in kept if not known(name, layout.pairs) or _is_crossed(name)]
    )
    if strangers:
        raise UserError(f"the {target} layout has no place for {', '.join(strangers[:5])} ({len(strangers)} tensors)")
    left_out += _key_biases(kept) if layout is official.TIMM_BEIT else ()
    return Export(layout.from_native(kept), layout, tuple(left_out))


def _with_place(tensors: State, target: str, kind: Kind, *, alone: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """What goes along, and the names of what does not: asking for timm is asking for the ViT alone.

    `alone`: as asking for another layout is, where that knows the encoder only.
    """
    if target != "timm" and not alone:
        return dict(tensors), ()
    parts = ("encoder.", "head.") if kind == "classifier" else ("encoder.",)
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(parts)}
    return kept, tuple(name for name in tensors if name not in kept)


def _is_extra(name: str) -> bool:
    """LayerScale and relative position bias, which the plain ViT does not have."""
    return name.endswith((".gamma_1", ".gamma_2", ".relative_position_bias_table"))


def _is_crossed(name: str) -> bool:
    """Cross-attention of a decoder, which no other layout has."""
    return name.startswith("decoder.blocks.") and ".attn.q." in name


def _without_extras(tensors: State, target: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The plain form, where it computes the same: gammas of one, tables of zero."""
    extras = {name: tensor for name, tensor in tensors.items() if _is_extra(name)}
    for name, tensor in extras.items():
        neutral = torch.zeros_like if name.endswith("table") else torch.ones_like
        if not torch.equal(tensor, neutral(tensor)):
            raise UserError(
                f"the {target} layout is a plain ViT and has no place for {name}, without which the numbers change; "
                "choose --to timm (BEiT) or mmseg"
            )
    return {name: tensor for name, tensor in tensors.items() if name not in extras}, tuple(extras)


def _key_biases(tensors: State) -> tuple[str, ...]:
    return tuple(
        f"{name} (key part)"
        for name, tensor in tensors.items()
        if name.endswith("qkv.bias") and tensor.chunk(3)[1].any()
    )
