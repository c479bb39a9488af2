"""Small models of real shape, and files as training programs write them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mae_hydra.models import (
    MAE,
    Classifier,
    ClassifierHead,
    FCNHead,
    FeaturePyramid,
    LinearSegHead,
    MAEDecoder,
    PatchSegmenter,
    UPerHead,
    UPerNet,
    VisionTransformer,
)

CHANNELS = [0.5, 0.5, 0.5]


def make_encoder(**changes: Any) -> VisionTransformer:
    settings: dict[str, Any] = {
        "image_size": 32,
        "patch_size": 8,
        "in_chans": 3,
        "embed_dim": 16,
        "depth": 4,
        "num_heads": 2,
        "mlp_ratio": 2.0,
        "out_indices": [0, 1, 2, 3],
        "drop_path_rate": 0.0,
        "positions": "fixed",
        "relative_position_bias": False,
        "layer_scale": None,
        "final_norm": True,
    }
    return VisionTransformer(**(settings | changes))


def make_mae(**changes: Any) -> MAE:
    encoder = make_encoder(**changes)
    decoder = MAEDecoder(
        encoder_dim=encoder.embed_dim,
        embed_dim=8,
        depth=1,
        num_heads=2,
        mlp_ratio=2.0,
        patch_size=encoder.patch_size,
        in_chans=encoder.in_chans,
        image_size=list(encoder.image_size),
        num_cls_tokens=encoder.num_cls_tokens,
    )
    statistics = [0.5] * encoder.in_chans
    return MAE(
        encoder=encoder,
        decoder=decoder,
        mask_ratio=0.75,
        masking="random",
        norm_pix=True,
        mean=statistics,
        std=statistics,
    )


def make_upernet(num_classes: int = 5, **changes: Any) -> UPerNet:
    form = {"relative_position_bias": True, "layer_scale": 1.0, "positions": "learned", "final_norm": False}
    encoder = make_encoder(**(form | changes))
    width = encoder.embed_dim
    statistics = [0.5] * encoder.in_chans
    return UPerNet(
        encoder=encoder,
        pyramid=FeaturePyramid(dim=width),
        head=UPerHead(in_dim=width, channels=8, num_classes=num_classes, pool_scales=[1, 2], dropout=0.1),
        auxiliary=FCNHead(in_dim=width, channels=8, num_classes=num_classes, dropout=0.1),
        auxiliary_weight=0.4,
        ignore_index=255,
        normalizer="valid",
        mean=statistics,
        std=statistics,
    )


def write_run(directory: Path, model: nn.Module, name: str = "last", step: int = 7, **encoder: Any) -> Path:
    """A run directory with one checkpoint as the engine writes it; `encoder`: what its configuration says of one."""
    (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
    content = {
        "model": model.state_dict(),
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "step": step,
        "config": {"seed": 0, "model": {"encoder": encoder}},
        "meta": {"class_names": ["sky", "wall"]},
    }
    torch.save(content, directory / "checkpoints" / f"{name}.pt")
    return directory


def official_names(model: MAE) -> dict[str, torch.Tensor]:
    """The state dict under the names of the official code, spelt out."""
    renamed = {}
    for name, value in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "encoder" or rest == "mask_token":
            renamed[rest] = value
        else:
            renamed[f"decoder_{rest}"] = value
    return renamed


def randomise(model: nn.Module, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if not name.endswith("pos_embed"):
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def make_classifier(pool: str = "mean", batch_norm: bool = False, **changes: Any) -> Classifier:
    encoder = make_encoder(**({"final_norm": pool == "cls", "positions": "learned"} | changes))
    return Classifier(
        encoder=encoder,
        head=ClassifierHead(
            in_dim=encoder.embed_dim, num_classes=5, norm=pool == "mean", batch_norm=batch_norm, init_std=0.01
        ),
        pool=pool,
        trainable_blocks=0 if batch_norm else None,
        label_smoothing=0.0,
        mixing=None,
        erasing=None,
        mean=CHANNELS,
        std=CHANNELS,
    )


def make_patch_segmenter(**changes: Any) -> PatchSegmenter:
    encoder = make_encoder(**changes)
    return PatchSegmenter(
        encoder=encoder,
        head=LinearSegHead(in_dim=encoder.embed_dim, num_classes=5),
        trainable_blocks=0,
        ignore_index=255,
        normalizer="valid",
        mean=CHANNELS,
        std=CHANNELS,
    )
