"""Checkpoints out: each layout in the container in which its readers expect it, written whole or not at all."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mae_hydra import atomic
from mae_hydra.errors import UserError
from mae_hydra.weights.describe import Description
from mae_hydra.weights.layouts import Export
from mae_hydra.weights.metadata import EXPORTED

FOLDERS = {"huggingface": {"config.json", "model.safetensors"}}  # layouts whose container is a folder of these


def write_checkpoint(
    path: str | Path, target: str, export: Export, meta: Mapping[str, Any], description: Description | None
) -> None:
    """Write to `path`: a folder for huggingface, a file for the others, safetensors where it is called so.

    `meta` as of a `Checkpoint`: a native file gets all of it, mmsegmentation's the class names and the palette. Only a
    native file needs no `description`: its configuration tells more.
    """
    path = Path(path)
    check_output(path, target)
    # Tensors of one memory (views, ties) are written once each; readers expect them contiguous.
    tensors = OrderedDict((name, tensor.detach().contiguous().clone()) for name, tensor in export.tensors.items())
    config = huggingface_config(description) if target == "huggingface" and description is not None else {}
    try:
        with atomic.writing(path) as temporary:
            if target in FOLDERS:
                temporary.mkdir()
                save_file(tensors, temporary / "model.safetensors", {"format": "pt"})
                (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            elif path.suffix == ".safetensors":
                save_file(tensors, temporary, {"format": "pt", **_texts(target, meta, description)})
            else:
                torch.save(_content(target, tensors, meta, description), temporary)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk in their own
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"could not write {path}: {reason}; what was there before is unchanged") from error


def check_output(path: Path, target: str) -> None:
    """UserError where nothing could be written, before any work is done."""
    if target in FOLDERS and path.suffix in (".pt", ".pth", ".bin", ".safetensors"):
        raise UserError(f"the {target} layout is a folder with config.json and model.safetensors; give a folder name")
    if target not in FOLDERS and path.is_dir():
        raise UserError(f"{path} is a folder; the {target} layout is a file, so give a file name")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent} to write into; make it first")
    atomic.check_writable(path.parent, "give another place")


def _texts(target: str, meta: Mapping[str, Any], description: Description | None) -> dict[str, str]:
    """Metadata of safetensors are texts."""
    if target != "native":
        assert description is not None
        return {EXPORTED: json.dumps(_for_others(description))}
    rest = {name: value for name, value in meta.items() if name not in ("config", "step")}
    kept = {"config": meta.get("config"), "step": meta.get("step"), "meta": rest}
    return {name: json.dumps(value) for name, value in kept.items() if value is not None}


def _content(
    target: str, tensors: OrderedDict[str, Tensor], meta: Mapping[str, Any], description: Description | None
) -> Mapping[str, Any]:
    if target == "native":
        rest = {name: value for name, value in meta.items() if name not in ("config", "step")}
        top = {name: meta[name] for name in ("config", "step") if name in meta}
        return {"model": tensors, **top, "meta": rest}
    assert description is not None
    if target == "mmseg" and description.kind == "segmentation":
        return {"meta": _mmseg_meta(meta), "state_dict": tensors, EXPORTED: _for_others(description)}
    if target == "official":
        return {"model": tensors, EXPORTED: _for_others(description)}
    # A bare state dict has no place beside the tensors but the attribute in which torch keeps versions of modules.
    tensors._metadata = {EXPORTED: _for_others(description)}  # type: ignore[attr-defined]
    return tensors


def _for_others(description: Description) -> dict[str, Any]:
    """What neither names nor shapes tell of a model, in the vocabulary of `mae_hydra.weights.metadata`."""
    size = description.image_size
    decoder = description.decoder
    kept = {
        "encoder": {
            "image_size": None if size is None else list(size),
            "patch_size": description.patch_size,
            "num_heads": description.encoder.heads,
        },
        "decoder": None if decoder is None else {"num_heads": decoder.heads},
        "norm_pix": description.norm_pix,
        "mask_ratio": description.mask_ratio,
    }
    return {name: value for name, value in kept.items() if value is not None}


def _mmseg_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Class names and colours where mmsegmentation 0.x (CLASSES, PALETTE) and 1.x (dataset_meta) look for them."""
    if "class_names" not in meta:
        return {}
    names, palette = tuple(meta["class_names"]), meta.get("palette")
    return {"CLASSES": names, "PALETTE": palette, "dataset_meta": {"classes": names, "palette": palette}}


def huggingface_config(description: Description) -> dict[str, Any]:
    """`config.json` of a ViTMAE, or of a Pixio, which has several cls tokens and no decoder there.

    Where nothing else is told with MAE's epsilon, not Hugging Face's default of 1e-12.
    """
    encoder, decoder = description.encoder, description.decoder
    heads, size = encoder.heads, description.image_size
    if heads is None or size is None or size[0] != size[1]:
        raise UserError(
            "Hugging Face's models need a square image and a number of attention heads; this checkpoint tells "
            f"{'no heads' if heads is None else f'an image of {size}'}"
        )
    config: dict[str, Any] = {
        "hidden_size": encoder.dim,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": heads,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-6 if description.norm_eps is None else description.norm_eps,
        "image_size": size[0],
        "patch_size": description.patch_size,
        "num_channels": description.channels,
        "qkv_bias": True,
    }
    if description.num_cls_tokens > 1:
        return config | {
            "architectures": ["PixioModel"],
            "model_type": "pixio",
            "mlp_ratio": _whole(encoder.mlp_ratio),
            "n_cls_tokens": description.num_cls_tokens,
        }
    config |= {
        "architectures": ["ViTMAEModel" if decoder is None else "ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "intermediate_size": round(encoder.dim * encoder.mlp_ratio),
        "mask_ratio": 0.75 if description.mask_ratio is None else description.mask_ratio,
        "norm_pix_loss": bool(description.norm_pix),
    }
    if decoder is not None:
        if decoder.heads is None:
            raise UserError("the number of the decoder's attention heads is not known; Hugging Face's config needs it")
        config |= {
            "decoder_hidden_size": decoder.dim,
            "decoder_num_hidden_layers": decoder.depth,
            "decoder_num_attention_heads": decoder.heads,
            "decoder_intermediate_size": round(decoder.dim * decoder.mlp_ratio),
        }
    return config


def _whole(mlp_ratio: float) -> int:
    if mlp_ratio != int(mlp_ratio):
        raise UserError(f"Hugging Face's Pixio has whole numbers for mlp_ratio; this one's is {mlp_ratio:g}")
    return int(mlp_ratio)
