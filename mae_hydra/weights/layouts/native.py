"""Our own names, and what a set of them is."""

from collections.abc import Collection, Mapping
from typing import Literal

from torch import Tensor

from mae_hydra.weights.layouts.layout import Layout

Kind = Literal["mae", "encoder", "segmentation", "patch_segmentation", "classifier", "probe", "other"]

PARTS = ("encoder.", "decoder.", "pyramid.", "head.", "auxiliary.")
WORDS: dict[Kind, str] = {
    "mae": "a masked autoencoder",
    "encoder": "an encoder",
    "segmentation": "a UPerNet",
    "patch_segmentation": "a segmentation of patches",
    "classifier": "a classifier",
    "probe": "a linear probe",
    "other": "a model with parts of its own",
}


def kind_of(names: Collection[str]) -> Kind:
    """What model the tensors under our `names` are; "other" on an encoder that is not ours."""
    if "encoder.cls_token" not in names:
        return "other"
    if "head.classify.weight" in names:
        return "segmentation" if any(name.startswith("pyramid.") for name in names) else "patch_segmentation"
    if "head.batch_norm.running_mean" in names:
        return "probe"
    if "head.linear.weight" in names:
        return "classifier"
    return "mae" if "decoder.mask_token" in names else "encoder"


def num_cls_tokens(tensors: Mapping[str, Tensor]) -> int:
    """How many cls tokens a model under our names has; 1 where it has none that can be counted."""
    token = tensors.get("encoder.cls_token")
    return token.shape[1] if token is not None and token.ndim == 3 else 1


def _is_native(names: Collection[str]) -> bool:
    ours = "encoder.cls_token" in names and all(name.startswith(PARTS) for name in names)
    return ours and not any(name.startswith("decoder.decoder_") for name in names)  # parts of others are called so too


NATIVE = Layout("mae_hydra", _is_native, ())
