"""From what a checkpoint holds to the configuration of the model that it belongs to, for files that carry none."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment.check import check
from mae_hydra.experiment.compose import compose_config
from mae_hydra.weights import WORDS, Checkpoint, Description, describe

# The released weights of all layouts were trained on pictures normalised so.
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
POOL_SCALES = {4: [1, 2, 3, 6]}  # they leave only their number in the weights
CHANNELS_WITH_STATISTICS = 3


def configuration_of(checkpoint: Checkpoint, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved configuration of a run that would train this model; `changes` are overrides that come last.

    UserError where the weights alone do not tell a model: attention heads of an unusual width, say.
    """
    description = describe(checkpoint)
    overrides = [*_overrides(description, checkpoint), *changes]
    config = compose_config(overrides)
    check(config)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    if description.kind == "encoder":
        resolved["model"] = resolved["backbone"]
    return {str(name): value for name, value in resolved.items() if name != "hydra"}


def _overrides(description: Description, checkpoint: Checkpoint) -> list[str]:
    if description.kind in ("classifier", "probe"):
        raise UserError(
            f"{checkpoint.path} holds {WORDS[description.kind]}, which cannot be built alone yet; "
            "its encoder can: start from it with init_from="
        )
    where = str(checkpoint.path)
    size = description.image_size
    if size is None:
        raise UserError(
            f"{where} has positions for {description.num_positions} patches, which is no square, and does not say in "
            "which grid; add data.image_size=[height,width]"
        )
    node = {
        "data.image_size": list(size),
        "data.channels": description.channels,
        **_statistics(description.channels),
        **_backbone(description, where),
    }
    if description.kind == "segmentation":
        words = ["model=upernet_vitb", "data=ade20k", "inference=slide"]
        node |= _segmentation(description, where)
    else:
        words = ["model=mae_vitb", "data=imagenet"]
    if description.decoder is not None:
        node |= _decoder(description, where)
    return [*words, *(f"{name}={_written(value)}" for name, value in node.items())]


def _statistics(channels: int) -> Mapping[str, list[float]]:
    if channels == CHANNELS_WITH_STATISTICS:
        return {f"data.{name}": values for name, values in IMAGENET.items()}
    return {"data.mean": [0.5] * channels, "data.std": [0.25] * channels}


def _backbone(description: Description, where: str) -> dict[str, Any]:
    encoder = description.encoder
    if encoder.heads is None:
        raise UserError(
            f"{where} does not tell the number of attention heads of its width {encoder.dim}; "
            "add backbone.num_heads=<number>"
        )
    return {
        "backbone.patch_size": description.patch_size,
        "backbone.embed_dim": encoder.dim,
        "backbone.depth": encoder.depth,
        "backbone.num_heads": encoder.heads,
        "backbone.mlp_ratio": encoder.mlp_ratio,
        "backbone.out_indices": _taps(encoder.depth),
        "backbone.relative_position_bias": description.relative_positions,
        "backbone.layer_scale": 1.0 if description.layer_scale else None,
        "backbone.final_norm": description.final_norm,
    }


def _taps(depth: int) -> list[int]:
    """The blocks whose maps feed a dense head: the ends of a third, a half, two thirds and all, as published."""
    return sorted({max(round(depth * share) - 1, 0) for share in (1 / 3, 1 / 2, 2 / 3, 1)})


def _decoder(description: Description, where: str) -> dict[str, Any]:
    decoder = description.decoder
    assert decoder is not None
    if decoder.heads is None:
        raise UserError(
            f"{where} does not tell the number of attention heads of its decoder of width {decoder.dim}; "
            "add head.num_heads=<number>"
        )
    return {
        "head.embed_dim": decoder.dim,
        "head.depth": decoder.depth,
        "head.num_heads": decoder.heads,
        "head.mlp_ratio": decoder.mlp_ratio,
        "model.norm_pix": True if description.norm_pix is None else description.norm_pix,
        "model.mask_ratio": 0.75 if description.mask_ratio is None else description.mask_ratio,
    }


def _segmentation(description: Description, where: str) -> dict[str, Any]:
    if description.pools not in POOL_SCALES:
        raise UserError(
            f"{where} pools at {description.pools} scales and does not tell which; add head.pool_scales=[…]"
        )
    node: dict[str, Any] = {
        "data.num_classes": description.num_classes,
        "data.reduce_zero_label": description.num_classes == 150,
        "head.channels": description.head_width,
        "head.pool_scales": POOL_SCALES[description.pools],
    }
    if description.auxiliary_width is None:
        return node | {"model.auxiliary": None}
    return node | {"model.auxiliary.channels": description.auxiliary_width}


def _written(value: Any) -> str:
    """As Hydra reads it on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(" ", "")
