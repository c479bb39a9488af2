"""What a file tells about its weights beside the tensors, from whoever wrote it, in one vocabulary.

Keys, each only where the file tells it: "config" (of our runs), "step", "epoch", "class_names", "palette" ((K, 3)
numbers), "norm_pix" (whether the targets were normalised), "mask_ratio", "encoder" (arguments: "num_heads",
"image_size", "patch_size"), "decoder" ("num_heads"), "layer_norm_eps", "mean" and "std" (by channel,
of pixels in 0..1), "ignored" (foreign classes that were not built).
A value of another kind than its key has is not told.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from mae_hydra.errors import UserError
from mae_hydra.names import class_names
from mae_hydra.weights.containers import Content
from mae_hydra.weights.safe_unpickle import plain

EXPORTED = "mae_hydra"  # under which our files in the layouts of others tell what these cannot


def metadata_of(content: Content) -> dict[str, Any]:
    """The vocabulary above, as far as `content` has it."""
    meta = _by_run(content.extras) | _by_official_trainer(content.extras) | _by_mmseg(content.extras)
    meta |= _by_huggingface(content.extras) | _by_timm(content.extras) | _by_export(content.extras)
    if content.ignored:
        meta["ignored"] = list(content.ignored)
    if _is_names(meta.get("class_names")):
        meta["class_names"] = list(class_names(meta["class_names"]))
    if meta.get("palette") is not None and not _is_palette(meta["palette"], len(meta.get("class_names") or [])):
        del meta["palette"]
    return {name: value for name, value in meta.items() if value is not None and KINDS.get(name, _is_any)(value)}


def encoder_settings(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The encoder's arguments in the configuration that a checkpoint of ours carries, or as others tell them."""
    node: Any = meta
    for key in ("config", "model", "encoder"):
        node = node.get(key) if isinstance(node, Mapping) else None
    node = meta.get("encoder") if node is None else node
    return node if isinstance(node, Mapping) else {}


def norm_eps(meta: Mapping[str, Any]) -> float | None:
    """What the LayerNorms of these weights add to the variance; None where the file does not tell."""
    for eps in (encoder_settings(meta).get("norm_eps"), meta.get("layer_norm_eps")):
        if isinstance(eps, float) and eps > 0:
            return eps
    return None


def normalization(meta: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Mean and deviation by channel of the pixels that these weights were trained on; None where it is not told."""
    config = meta.get("config")
    data = config.get("data") if isinstance(config, Mapping) else None
    mean, std = ((data if isinstance(data, Mapping) else meta).get(name) for name in ("mean", "std"))
    return (mean, std) if _is_channels(mean) and _is_channels(std) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    value = plain(value)
    return value if isinstance(value, Mapping) else {}


def _by_run(extras: Mapping[str, Any]) -> dict[str, Any]:
    """`meta`, `config` and `step` as our engine and `convert` write them."""
    meta: dict[str, Any] = {"step": plain(extras.get("step"))}
    if "config" in extras:
        meta |= {"config": _mapping(extras["config"]), **_mapping(extras.get("meta"))}
    return meta


def _by_official_trainer(extras: Mapping[str, Any]) -> dict[str, Any]:
    """`args` of the command line, and the epoch it had finished."""
    arguments = _mapping(extras.get("args"))
    norm_pix = arguments.get("norm_pix_loss")
    return {
        "epoch": plain(extras.get("epoch")),
        "norm_pix": norm_pix,
        "mask_ratio": arguments.get("mask_ratio"),
    }


def _by_mmseg(extras: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` of mmcv (CLASSES, PALETTE) and of mmengine (dataset_meta)."""
    meta = _mapping(extras.get("meta"))
    names = _mapping(meta.get("dataset_meta"))
    classes, palette = names.get("classes", meta.get("CLASSES")), names.get("palette", meta.get("PALETTE"))
    found: dict[str, Any] = {}
    if isinstance(classes, list) and classes:
        found["class_names"] = [str(name) for name in classes]
        found["palette"] = palette
    if "iter" in meta:
        found["step"] = meta["iter"]
    return found


def _by_huggingface(extras: Mapping[str, Any]) -> dict[str, Any]:
    """`config.json` beside the file."""
    config = _mapping(extras.get("config.json"))
    eps = {"vit_mae": 1e-12, "vit": 1e-12, "pixio": 1e-6}  # what their program takes where it is not told
    model_type = str(config.get("model_type"))
    if model_type not in eps:
        return {}
    activation = config.get("hidden_act", "gelu")
    if activation != "gelu":
        raise UserError(
            f"config.json says hidden_act={activation}; the models here compute gelu, and give other numbers"
        )
    return {
        "encoder": {
            "num_heads": config.get("num_attention_heads"),
            "image_size": config.get("image_size"),
            "patch_size": config.get("patch_size"),
        },
        "decoder": {"num_heads": config.get("decoder_num_attention_heads")},
        "norm_pix": config.get("norm_pix_loss"),
        "mask_ratio": config.get("mask_ratio"),
        "layer_norm_eps": config.get("layer_norm_eps", eps[model_type]),
    }


def _by_timm(extras: Mapping[str, Any]) -> dict[str, Any]:
    """`config.json` of timm's models on the hub: how the pictures were normalised."""
    described = _mapping(_mapping(extras.get("config.json")).get("pretrained_cfg"))
    mean, std = described.get("mean"), described.get("std")
    if not _is_channels(mean) or not _is_channels(std) or len(mean) != len(std) or min(std) <= 0:
        return {}
    return {"mean": mean, "std": std}


def _by_export(extras: Mapping[str, Any]) -> dict[str, Any]:
    """What `convert` adds to the layouts of others, beside names and shapes."""
    return dict(_mapping(extras.get(EXPORTED)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_channels(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and bool(value) and all(_is_number(x) and math.isfinite(x) for x in value)


def _is_any(_: Any) -> bool:
    return True


def _is_palette(palette: Any, classes: int) -> bool:
    return (
        isinstance(palette, list)
        and len(palette) == classes
        and all(
            isinstance(colour, list) and len(colour) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in colour)
            for colour in palette
        )
    )


KINDS = {
    **dict.fromkeys(("step", "epoch", "mask_ratio", "layer_norm_eps"), _is_number),
    **dict.fromkeys(("config", "encoder", "decoder"), _is_mapping),
    **dict.fromkeys(("class_names", "ignored"), _is_names),
    **dict.fromkeys(("mean", "std"), _is_channels),
    "norm_pix": _is_flag,
}
