"""Names of Hugging Face's ViTMAEForPreTraining (with `vit.` and `decoder.`) and ViTMAEModel (without a prefix).

Its ViTModel and ViTForImageClassification (with `vit.` and `classifier.`) have the same ones, its PixioModel those of
ViTMAEModel but for `norm1`, `norm2` and `mlp` in the blocks of files.

Three spellings are about: that of the released files, which every version reads; that of the modules of transformers 5
in memory; and that of files saved by transformers 5, where the decoder's blocks are called `decoder_encoder.layer`. All
are read, the first is written.
"""

import re
from collections.abc import Collection

import torch
from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.weights.layouts.layout import Layout
from mae_hydra.weights.layouts.names import Pair, State

QKV = ("query", "key", "value")
BLOCK = (  # of the released files -> ours, within a block
    ("attention.attention.qkv.*", "attn.qkv.*"),
    ("attention.output.dense.*", "attn.proj.*"),
    ("layernorm_before.*", "norm1.*"),
    ("layernorm_after.*", "norm2.*"),
    ("intermediate.dense.*", "mlp.fc1.*"),
    ("output.dense.*", "mlp.fc2.*"),
)
PIXIO_BLOCK = (
    *BLOCK[:2],
    ("norm1.*", "norm1.*"),
    ("norm2.*", "norm2.*"),
    ("mlp.*", "mlp.*"),
)
RESPELLED = (  # newer spellings -> that of the released files
    (r"\bdecoder_encoder\.layer\.(?=\d)", "decoder_layers."),
    (r"\A(vit\.)?layers\.(?=\d)", r"\1encoder.layer."),
    (r"\battention\.q_proj\.", "attention.attention.query."),
    (r"\battention\.k_proj\.", "attention.attention.key."),
    (r"\battention\.v_proj\.", "attention.attention.value."),
    (r"\battention\.o_proj\.", "attention.output.dense."),
    (r"(\.layer\.\d+\.)norm1\.", r"\1layernorm_before."),
    (r"(\.layer\.\d+\.)norm2\.", r"\1layernorm_after."),
    (r"\bmlp\.fc1\.", "intermediate.dense."),
    (r"\bmlp\.fc2\.", "output.dense."),
)


def _encoder(prefix: str, block: tuple[Pair, ...] = BLOCK) -> tuple[Pair, ...]:
    return (
        (f"{prefix}embeddings.cls_token", "encoder.cls_token"),
        (f"{prefix}embeddings.position_embeddings", "encoder.pos_embed"),
        (f"{prefix}embeddings.patch_embeddings.projection.*", "encoder.patch_embed.proj.*"),
        *((f"{prefix}encoder.layer.#.{theirs}", f"encoder.blocks.#.{ours}") for theirs, ours in block),
        (f"{prefix}layernorm.*", "encoder.norm.*"),
    )


DECODER: tuple[Pair, ...] = (
    ("decoder.mask_token", "decoder.mask_token"),
    ("decoder.decoder_pos_embed", "decoder.pos_embed"),
    *((f"decoder.decoder_layers.#.{theirs}", f"decoder.blocks.#.{ours}") for theirs, ours in BLOCK),
    *((f"decoder.decoder_{part}.*", f"decoder.{part}.*") for part in ("embed", "norm", "pred")),
)


def fuse(tensors: State) -> dict[str, Tensor]:
    """Query, key and value rows, in this order, as one qkv tensor; in the spelling of the released files."""
    spelt = {_respelled(name): tensor for name, tensor in tensors.items()}
    fused: dict[str, Tensor] = {}
    for name, tensor in spelt.items():
        match = re.fullmatch(r"(.+\.attention\.attention\.)(query|key|value)(\..+)", name)
        if match is None:
            fused[name] = tensor
        elif match[2] == "query":
            parts = [spelt.get(f"{match[1]}{part}{match[3]}") for part in QKV]
            missing = [part for part, tensor in zip(QKV, parts, strict=True) if tensor is None]
            if missing:
                raise UserError(f"{match[1]}{missing[0]}{match[3]} is missing beside {name}: the file is incomplete")
            fused[f"{match[1]}qkv{match[3]}"] = torch.cat([part for part in parts if part is not None])
    return fused


def unfuse(tensors: State) -> dict[str, Tensor]:
    """The inverse of `fuse`."""
    separate: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attention.attention.qkv." in name:
            for part, rows in zip(QKV, tensor.chunk(3), strict=True):
                separate[name.replace(".qkv.", f".{part}.")] = rows.clone()
        else:
            separate[name] = tensor
    return separate


def _respelled(name: str) -> str:
    for pattern, replacement in RESPELLED:
        name = re.sub(pattern, replacement, name)
    return name


def _is_pretraining(names: Collection[str]) -> bool:
    return {"vit.embeddings.cls_token", "decoder.mask_token"} <= set(names)


def _is_prefixed(names: Collection[str]) -> bool:
    return "vit.embeddings.cls_token" in names


def _is_model(names: Collection[str]) -> bool:
    return {"embeddings.cls_token", "embeddings.patch_embeddings.projection.weight"} <= set(names)


def _backbone_root(names: Collection[str]) -> str | None:
    """What stands before the model of a PixioBackbone, which has a second norm beside it."""
    roots = (root for root in ("encoder.", "pixio.") if f"{root}embeddings.cls_token" in names)
    return next(roots, None) if "layernorm.weight" in names else None


def _merge_backbone(tensors: State) -> dict[str, Tensor]:
    """The model within, fused, under the norm that its maps are read through, unless that has never been trained.

    Such a norm, of ones and zeros, is what transformers leaves there when it loads the weights of a PixioModel.
    """
    root = _backbone_root(tensors.keys()) or ""
    own = {name: tensors[name] for name in ("layernorm.weight", "layernorm.bias") if name in tensors}
    inner = {name.removeprefix(root): tensor for name, tensor in tensors.items() if name not in own}
    fresh = all(bool((tensor == (1 if name.endswith("weight") else 0)).all()) for name, tensor in own.items())
    return fuse(inner if fresh else inner | own)


def _is_classifier(names: Collection[str]) -> bool:
    return {"vit.embeddings.cls_token", "classifier.weight"} <= set(names)


CLASSIFIER = Layout(
    "Hugging Face ViTForImageClassification",
    _is_classifier,
    (*_encoder("vit."), ("classifier.*", "head.linear.*")),
    fuse,
    unfuse,
)
FULL = Layout("Hugging Face ViTMAEForPreTraining", _is_pretraining, (*_encoder("vit."), *DECODER), fuse, unfuse)
PREFIXED_ENCODER = Layout("Hugging Face ViT or ViTMAE, encoder", _is_prefixed, _encoder("vit."), fuse, unfuse)
ENCODER = Layout("Hugging Face ViTModel, ViTMAEModel or PixioModel", _is_model, _encoder(""), fuse, unfuse)
PIXIO = Layout("Hugging Face PixioModel", _is_model, _encoder("", PIXIO_BLOCK), fuse, unfuse)  # to be written alone
PIXIO_BACKBONE = Layout(
    "Hugging Face PixioBackbone", lambda names: _backbone_root(names) is not None, _encoder(""), _merge_backbone
)
