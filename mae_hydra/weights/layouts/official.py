"""Names of the official MAE weights, which timm's ViT shares; and timm's BEiT, whose attention has no key bias.

Encoder and decoder stand side by side without a prefix. timm's `vit_*.mae` is the encoder alone under the same names.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from mae_hydra.relative_positions import square_grid
from mae_hydra.weights.layouts.layout import Layout
from mae_hydra.weights.layouts.names import Pair, State

ENCODER: tuple[Pair, ...] = (
    ("cls_token", "encoder.cls_token"),
    ("pos_embed", "encoder.pos_embed"),
    ("patch_embed.proj.*", "encoder.patch_embed.proj.*"),
    ("blocks.*", "encoder.blocks.*"),
    ("norm.*", "encoder.norm.*"),
)
DECODER: tuple[Pair, ...] = (
    ("mask_token", "decoder.mask_token"),
    ("decoder_pos_embed", "decoder.pos_embed"),
    *((f"decoder_{part}.*", f"decoder.{part}.*") for part in ("embed", "blocks", "norm", "pred")),
)
# What CrossMAE's decoder has beside MAE's parts: weights of the encoder's maps, and a norm behind each sum of them.
CROSS: tuple[Pair, ...] = (("dec_norms.*", "decoder.dec_norms.*"), ("wfm.*", "decoder.wfm.*"))
CLASSIFIER: tuple[Pair, ...] = (("fc_norm.*", "head.norm.*"), ("head.*", "head.linear.*"))
PROBE: tuple[Pair, ...] = (("head.0.*", "head.batch_norm.*"), ("head.1.*", "head.linear.*"))


def is_vit(names: Collection[str]) -> bool:
    """Tell whether names are those of MAE's, or timm's, Vision Transformer."""
    return {"cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= set(names)


def _is_full(names: Collection[str]) -> bool:
    return is_vit(names) and "mask_token" in names and any(name.startswith("decoder_blocks.") for name in names)


def _is_crossmae(names: Collection[str]) -> bool:
    return is_vit(names) and any(name.startswith(("dec_norms.", "wfm.")) for name in names)


def _is_probe(names: Collection[str]) -> bool:
    return is_vit(names) and "head.0.running_mean" in names


def _is_classifier(names: Collection[str]) -> bool:
    return is_vit(names) and "head.weight" in names


def _is_beit(names: Collection[str]) -> bool:
    return is_vit(names) and "blocks.0.attn.q_bias" in names


def merge_biases(tensors: State, root: str = "", blocks: str = "blocks") -> dict[str, Tensor]:
    """Query and value biases become one qkv bias with a key bias of zero, which the softmax cancels anyway.

    A table of absolute positions that BEiT was trained without is one of zeros; index buffers follow from the grid.
    `root` and `blocks`: what stands before the names of the encoder, and what its blocks are called.
    """
    merged: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, last = name.rpartition(".")
        if last == "q_bias" and f"{stem}.v_bias" in tensors:
            merged[f"{stem}.qkv.bias"] = torch.cat([tensor, torch.zeros_like(tensor), tensors[f"{stem}.v_bias"]])
        elif last not in ("v_bias", "relative_position_index"):
            merged[name] = tensor
    positions = _zero_positions(merged, root, blocks)
    return merged if positions is None else merged | {f"{root}pos_embed": positions}


def split_biases(tensors: State) -> dict[str, Tensor]:
    """The inverse of `merge_biases`; what a key bias holds is dropped."""
    split: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(".attn.qkv.bias"):
            query, _, value = tensor.chunk(3)
            stem = name.removesuffix(".qkv.bias")
            split |= {f"{stem}.q_bias": query.clone(), f"{stem}.v_bias": value.clone()}
        elif name != "pos_embed" or tensor.any():
            split[name] = tensor
    return split


def split_tokens(tensors: State) -> dict[str, Tensor]:
    """Of several cls tokens timm's ViT calls the first so, the others registers (reg_tokens=7 for Pixio's eight)."""
    token = tensors["cls_token"]
    return {**tensors, "cls_token": token[:, :1].clone(), "reg_token": token[:, 1:].clone()}


def _zero_positions(tensors: State, root: str, blocks: str) -> Tensor | None:
    """Positions of zeros where there are none, if the relative table tells a square grid."""
    table = tensors.get(f"{root}{blocks}.0.attn.relative_position_bias_table")
    token = tensors.get(f"{root}cls_token")
    if f"{root}pos_embed" in tensors or table is None or token is None or table.ndim != 2 or token.ndim != 3:
        return None
    grid = square_grid(len(table))
    return None if grid is None else token.new_zeros(1, 1 + grid[0] * grid[1], token.shape[2])


TIMM_BEIT = Layout("timm BEiT", _is_beit, (*ENCODER, *CLASSIFIER), merge_biases, split_biases)
CROSSMAE = Layout("official CrossMAE, encoder and decoder", _is_crossmae, (*ENCODER, *DECODER, *CROSS))
OFFICIAL_FULL = Layout("official MAE, encoder and decoder", _is_full, (*ENCODER, *DECODER))
OFFICIAL_PROBE = Layout("official MAE, linear probe", _is_probe, (*ENCODER, *PROBE))
OFFICIAL_CLASSIFIER = Layout("official MAE or timm ViT, classifier", _is_classifier, (*ENCODER, *CLASSIFIER))
OFFICIAL_ENCODER = Layout("official MAE or timm ViT, encoder", is_vit, ENCODER)
TIMM_REGISTERS = Layout("timm ViT with reg_tokens", is_vit, ENCODER, split=split_tokens)  # to be written alone
