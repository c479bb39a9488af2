"""From what a checkpoint holds to the configuration of the model that it belongs to, for files that carry none."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from mae_hydra.configuration.check import check
from mae_hydra.configuration.compose import compose_config
from mae_hydra.errors import UserError
from mae_hydra.models.encoders.blocks import NORM_EPS
from mae_hydra.weights import WORDS, Checkpoint, Description, describe

# The released weights of all layouts were trained on pictures normalised so.
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
POOL_SCALES = {4: [1, 2, 3, 6]}  # they leave only their number in the weights
CHANNELS_WITH_STATISTICS = 3
ADE20K_CLASSES = 150
DECODER_OPTIONS = {"cross": "head=mae_cross_decoder", "crossmae": "head=crossmae_decoder"}
UNKNOWN = object()
WHAT_IT_IS = {
    "data.image_size": "the grid of its positions, which are no square",
    "backbone.num_heads": "the number of attention heads of its width",
    "head.num_heads": "the number of attention heads of its decoder's width",
    "head.pool_scales": "the scales at which its head pools",
}


def configuration_of(checkpoint: Checkpoint, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved configuration of a run that would train this model; `changes` are overrides that come last.

    UserError where neither the weights nor `changes` tell a model: attention heads of an unusual width, say.
    """
    config = compose_config([*overrides_of(checkpoint, changes), *changes])
    check(config)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    if checkpoint.kind == "encoder":
        resolved["model"] = resolved["backbone"]
    return {str(name): value for name, value in resolved.items() if name != "hydra"}


def overrides_of(checkpoint: Checkpoint, changes: Sequence[str] = ()) -> list[str]:
    """The command line, without `changes`, of a run that would train this model."""
    words, node = _told(describe(checkpoint), checkpoint)
    node |= {f"data.{name}": checkpoint.meta[name] for name in IMAGENET if _fits(checkpoint, name)}
    changed = {change.partition("=")[0] for change in changes}
    for key, value in node.items():
        if value is UNKNOWN and key not in changed:
            if changes:
                compose_config([*words, *changes])  # a misspelt key explains more than the one that is then missing
            raise UserError(f"{checkpoint.path} does not tell {WHAT_IT_IS[key]}; add {key}=…")
    return [*words, *(f"{key}={_written(value)}" for key, value in node.items() if value is not UNKNOWN)]


def _fits(checkpoint: Checkpoint, name: str) -> bool:
    """Whether the file itself tells a statistic of the pictures, of as many channels as it takes."""
    return len(checkpoint.meta.get(name, ())) == describe(checkpoint).channels


def encoder_overrides(description: Description) -> list[str]:
    """The command line of any model on an encoder of this size; whether that has relative positions is the model's."""
    node = _size(description)
    if description.image_size is not None:
        node["data.image_size"] = list(description.image_size)
    return [f"{key}={_written(value)}" for key, value in node.items() if value is not UNKNOWN]


def _told(description: Description, checkpoint: Checkpoint) -> tuple[list[str], dict[str, Any]]:
    """The groups to choose from, and every key that differs between models, UNKNOWN where it has to be given."""
    if description.kind == "patch_segmentation":
        raise UserError(
            f"{checkpoint.path} holds {WORDS[description.kind]} and no configuration, without which it cannot be built"
        )
    node: dict[str, Any] = {
        "data.image_size": UNKNOWN if description.image_size is None else list(description.image_size),
        **_backbone(description),
    }
    if description.kind == "segmentation":
        return ["model=upernet_vitb", "data=ade20k", "inference=slide"], node | _segmentation(description)
    if description.kind in ("classifier", "probe"):
        return [f"model={_classifier_model(description)}", "data=imagenet"], node | _classifier(description)
    if description.decoder_form == "unknown":
        raise UserError(
            f"{checkpoint.path} holds a decoder whose parts have other names than ours; its encoder is whole: it "
            "starts a classifier or a UPerNet with init_from=, and convert --to timm writes it alone"
        )
    words = [DECODER_OPTIONS[description.decoder_form]] if description.decoder_form in DECODER_OPTIONS else []
    return ["model=mae_vitb", "data=imagenet", *words], node | (_decoder(description) if description.decoder else {})


def _statistics(channels: int) -> Mapping[str, list[float]]:
    if channels == CHANNELS_WITH_STATISTICS:
        return {f"data.{name}": values for name, values in IMAGENET.items()}
    return {"data.mean": [0.5] * channels, "data.std": [0.25] * channels}


def _backbone(description: Description) -> dict[str, Any]:
    return {
        **_size(description),
        "backbone.relative_position_bias": description.relative_positions,
        "backbone.layer_scale": 1.0 if description.layer_scale else None,
        "backbone.final_norm": description.final_norm,
    }


def _size(description: Description) -> dict[str, Any]:
    encoder = description.encoder
    return {
        "data.channels": description.channels,
        **_statistics(description.channels),
        "backbone.patch_size": description.patch_size,
        "backbone.embed_dim": encoder.dim,
        "backbone.depth": encoder.depth,
        "backbone.num_cls_tokens": description.num_cls_tokens,
        "backbone.num_heads": UNKNOWN if encoder.heads is None else encoder.heads,
        "backbone.mlp_ratio": encoder.mlp_ratio,
        "backbone.out_indices": _taps(encoder.depth),
        **_norm_eps(description, "backbone"),
    }


def _norm_eps(description: Description, part: str) -> dict[str, float]:
    """A key that no option has: every layout but Hugging Face's has one and the same epsilon."""
    eps = description.norm_eps
    return {} if eps is None or eps == NORM_EPS else {f"++{part}.norm_eps": eps}


def _taps(depth: int) -> list[int]:
    """The blocks (from 0) whose maps feed a dense head: the ends of a third, a half, two thirds, all, as published."""
    return sorted({max(round(depth * share) - 1, 0) for share in (1 / 3, 1 / 2, 2 / 3, 1)})


def _decoder(description: Description) -> dict[str, Any]:
    decoder = description.decoder
    assert decoder is not None
    return {
        "head.embed_dim": decoder.dim,
        "head.depth": decoder.depth,
        "head.num_heads": UNKNOWN if decoder.heads is None else decoder.heads,
        "head.mlp_ratio": decoder.mlp_ratio,
        "model.norm_pix": True if description.norm_pix is None else description.norm_pix,
        "model.mask_ratio": 0.75 if description.mask_ratio is None else description.mask_ratio,
        **_norm_eps(description, "head"),
        **({"head.num_encoder_blocks": description.encoder_blocks_read} if description.decoder_form != "plain" else {}),
    }


def _classifier_model(description: Description) -> str:
    return "probe_vitb" if description.kind == "probe" else "classifier_vitb"


def _classifier(description: Description) -> dict[str, Any]:
    return {
        "data.num_classes": description.num_classes,
        "model.pool": "cls" if description.final_norm else "mean",
        "head.norm": description.head_norm,
        "head.batch_norm": description.batch_norm,
    }


def _segmentation(description: Description) -> dict[str, Any]:
    node: dict[str, Any] = {
        "data.num_classes": description.num_classes,
        "data.reduce_zero_label": description.num_classes == ADE20K_CLASSES,
        "head.channels": description.head_width,
        "head.pool_scales": POOL_SCALES.get(description.pools, UNKNOWN),
    }
    if description.auxiliary_width is None:
        return node | {"model.auxiliary": None}
    return node | {"model.auxiliary.channels": description.auxiliary_width}


def _written(value: Any) -> str:
    """Write a value as Hydra reads it on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(" ", "")
