"""What a file is that no model of this program is: named for what it is, with what sets it apart.

Known by `model_type` of a config.json beside the names of Hugging Face, and by the names and shapes of the tensors.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mae_hydra.errors import UserError
from mae_hydra.weights.layouts.names import State

OURS = ("vit_mae", "vit", "pixio")
MODEL_TYPES = {
    "beit": "BEiT",
    "data2vec-vision": "Data2Vec",
    "deit": "DeiT",
    "dinov2": "DINOv2",
    "dinov2_with_registers": "DINOv2 with registers",
    "dinov3_vit": "DINOv3",
    "dinov3_convnext": "DINOv3's ConvNeXt",
    "hiera": "Hiera",
    "ijepa": "I-JEPA",
    "videomae": "VideoMAE",
    "vit_msn": "ViT-MSN",
}
NETWORKS = (  # by a name that only they have
    (r"(.*\.)?layers\.\d+\.blocks\.\d+\.attn\.relative_position_bias_table", "a Swin Transformer"),
    (r"(.*\.)?stages\.\d+\..+", "a network of stages, as ConvNeXt is"),
    (r"(.*\.)?layer1\.0\.conv1\.weight", "a ResNet"),
    (r"(.*\.)?(vision_model|visual)\..+", "the image encoder of a CLIP or SigLIP"),
    (r"(.*\.)?image_encoder\..+", "a Segment Anything"),
)
VIT_BLOCK = re.compile(r"(.*\.)?blocks\.0\.attn\.qkv\.weight")


@dataclass(frozen=True)
class Family:
    """`traits`: what the models here do not have, in words."""

    name: str
    traits: tuple[str, ...]


class ForeignModelError(UserError):
    """A file that was understood and is another model; `facts` are rows for a person to read."""

    def __init__(self, message: str, facts: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.facts = facts


def foreign_family(tensors: State, extras: Mapping[str, Any], known: bool) -> Family | None:
    """The model that `tensors`, under the names of their file, are of; None where it may be one of ours.

    `known`: whether a layout has been recognised; where none has, any network that can be named is.
    """
    traits = tuple(_traits(tensors))
    model_type = _model_type(tensors, extras, known)
    if model_type is not None and model_type not in OURS:
        return Family(MODEL_TYPES.get(model_type, f"a model of type {model_type}"), traits)
    if traits:
        return Family(_by_traits(tensors), traits)
    if known:
        return None
    for pattern, name in NETWORKS:
        if any(re.fullmatch(pattern, tensor) for tensor in tensors):
            return Family(name, ())
    if not any(name.endswith("cls_token") for name in tensors) and any(map(VIT_BLOCK.fullmatch, tensors)):
        return Family("a ViT without a cls token, as I-JEPA is", ())
    return None


def check_family(path: Any, tensors: State, extras: Mapping[str, Any], known: bool) -> None:
    """ForeignModelError where the file is another model."""
    family = foreign_family(tensors, extras, known)
    if family is None:
        return
    apart = f" ({', '.join(family.traits)})" if family.traits else ""
    facts = [
        ("model", family.name),
        ("sets it apart", ", ".join(family.traits) or "another architecture"),
        ("positions", _positions(tensors)),
        ("parameters", f"{sum(tensor.numel() for tensor in tensors.values()):,} in {len(tensors)} tensors"),
        ("fits", "no model of this program: they are plain ViTs with cls tokens and a table of positions"),
    ]
    raise ForeignModelError(
        f"{path} is {family.name}{apart}, which no model of this program is; give a MAE, a Pixio, a plain ViT, timm's "
        "BEiT or a UPerNet of these",
        facts,
    )


def _positions(tensors: State) -> str:
    for name, tensor in tensors.items():
        if re.fullmatch(r"(.*\.)?(pos_embed|position_embeddings)", name) and tensor.ndim == 3:
            return f"a table for {tensor.shape[1]} tokens"
    return "no table of them"


def _model_type(tensors: State, extras: Mapping[str, Any], known: bool) -> str | None:
    """Read the model's type out of config.json, where it speaks of these tensors: beside known names it may not."""
    config = extras.get("config.json")
    model_type = config.get("model_type") if isinstance(config, Mapping) else None
    theirs = any(re.match(r"(.*\.)?embeddings\.", name) for name in tensors)
    return model_type if isinstance(model_type, str) and (theirs or not known) else None


def _traits(tensors: State) -> Iterator[str]:
    by_last = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items()}
    for name in ("reg_token", "register_tokens"):
        if name in by_last and by_last[name].numel():
            yield f"{by_last[name].shape[-2] if by_last[name].ndim > 1 else 1} register tokens"
    if {"dist_token", "distillation_token"} & by_last.keys():
        yield "a token of distillation"
    if any(re.search(r"\.(ls1\.gamma|layer_scale1\.lambda1|lambda_1)\Z", name) for name in tensors):
        yield "LayerScale"
    if any(name.endswith("rel_pos_bias.relative_position_bias_table") for name in tensors):
        yield "relative positions that all blocks share"
    if any(re.search(r"patch_embed\.\d+\.", name) for name in tensors) or "channel_embed" in by_last:
        yield "patches by groups of channels"
    for name, tensor in tensors.items():
        if re.search(r"patch_embed.*\.proj(ection)?\.weight\Z", name) and tensor.ndim == 5:
            yield f"patches of {tensor.shape[2]}x{tensor.shape[3]}x{tensor.shape[4]}, through time"


def _by_traits(tensors: State) -> str:
    text = " ".join(tensors)
    if "channel_embed" in text or re.search(r"patch_embed\.\d+\.", text):
        return "a ViT of several spectra, as SatMAE is"
    if any("patch_embed" in name and tensor.ndim == 5 for name, tensor in tensors.items()):
        return "a ViT of video or of series in time, as VideoMAE and Prithvi are"
    if "reg_token" in text or "register_tokens" in text:
        return "a ViT with registers, as DINOv2 has them"
    if "ls1.gamma" in text or "layer_scale1" in text:
        return "a ViT with LayerScale, as DINOv2 is"
    if "lambda_1" in text or "rel_pos_bias." in text:
        return "BEiT, as it is pre-trained"
    return "a distilled DeiT"
