"""Small instances of the real models, and the full-sized ones on the meta device."""

from typing import Any

import torch

from mae_hydra.models import (
    MAE,
    Classifier,
    ClassifierHead,
    FCNHead,
    FeaturePyramid,
    MAEDecoder,
    UPerHead,
    UPerNet,
    VisionTransformer,
)

SIZES = {  # embed_dim, depth, heads, patch, out_indices
    "base": (768, 12, 12, 16, [3, 5, 7, 11]),
    "large": (1024, 24, 16, 16, [7, 11, 15, 23]),
    "huge": (1280, 32, 16, 14, [7, 15, 23, 31]),
}


def encoder(**changes: Any) -> VisionTransformer:
    settings: dict[str, Any] = {
        "image_size": 32,
        "patch_size": 8,
        "in_chans": 3,
        "embed_dim": 24,
        "depth": 4,
        "num_heads": 3,
        "mlp_ratio": 4.0,
        "out_indices": [0, 1, 2, 3],
        "drop_path_rate": 0.0,
        "positions": "fixed",
        "relative_position_bias": False,
        "layer_scale": None,
        "final_norm": True,
    }
    return VisionTransformer(**(settings | changes))


def relative_encoder(**changes: Any) -> VisionTransformer:
    form = {"relative_position_bias": True, "layer_scale": 1.0, "positions": "learned", "final_norm": False}
    return encoder(**(form | changes))


def decoder(**changes: Any) -> MAEDecoder:
    settings: dict[str, Any] = {
        "encoder_dim": 24,
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "mlp_ratio": 4.0,
        "patch_size": 8,
        "in_chans": 3,
        "image_size": 32,
    }
    return MAEDecoder(**(settings | changes))


def mae(image_size: Any = 32, in_chans: int = 3, num_cls_tokens: int = 1, **changes: Any) -> MAE:
    settings: dict[str, Any] = {
        "encoder": encoder(image_size=image_size, in_chans=in_chans, num_cls_tokens=num_cls_tokens),
        "decoder": decoder(image_size=image_size, in_chans=in_chans, num_cls_tokens=num_cls_tokens),
        "mask_ratio": 0.75,
        "masking": "random",
        "norm_pix": True,
        "mean": [0.5] * in_chans,
        "std": [0.25] * in_chans,
    }
    return MAE(**(settings | changes))


def upernet(image_size: Any = 32, in_chans: int = 3, **changes: Any) -> UPerNet:
    settings: dict[str, Any] = {
        "encoder": relative_encoder(image_size=image_size, in_chans=in_chans),
        "pyramid": FeaturePyramid(dim=24),
        "head": UPerHead(in_dim=24, channels=12, num_classes=5, pool_scales=[1, 2, 3, 6], dropout=0.1),
        "auxiliary": FCNHead(in_dim=24, channels=6, num_classes=5, dropout=0.1),
        "auxiliary_weight": 0.4,
        "ignore_index": 255,
        "normalizer": "valid",
        "mean": [0.5] * in_chans,
        "std": [0.25] * in_chans,
    }
    return UPerNet(**(settings | changes))


def full_mae(size: str) -> MAE:
    """Paper-sized, at 224 pixels, without memory."""
    dim, depth, heads, patch, out_indices = SIZES[size]
    with torch.device("meta"):
        return mae(
            encoder=encoder(
                image_size=224, patch_size=patch, embed_dim=dim, depth=depth, num_heads=heads, out_indices=out_indices
            ),
            decoder=decoder(encoder_dim=dim, embed_dim=512, depth=8, num_heads=16, patch_size=patch, image_size=224),
        )


def full_upernet() -> UPerNet:
    """ViT-B at 512 pixels with 150 classes, without memory."""
    dim, depth, heads, patch, out_indices = SIZES["base"]
    with torch.device("meta"):
        return upernet(
            encoder=relative_encoder(
                image_size=512,
                patch_size=patch,
                embed_dim=dim,
                depth=depth,
                num_heads=heads,
                out_indices=out_indices,
                drop_path_rate=0.1,
            ),
            pyramid=FeaturePyramid(dim=dim),
            head=UPerHead(in_dim=dim, channels=dim, num_classes=150, pool_scales=[1, 2, 3, 6], dropout=0.1),
            auxiliary=None,
        )


def scramble(model: torch.nn.Module, seed: int = 0) -> None:
    """Random values in every parameter and running statistic, so that no zero or one hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))


def classifier(pool: str = "mean", batch_norm: bool = False, encoder_changes: Any = None, **changes: Any) -> Classifier:
    settings: dict[str, Any] = {
        "encoder": encoder(**({"final_norm": pool == "cls", "positions": "learned"} | (encoder_changes or {}))),
        "head": ClassifierHead(in_dim=24, num_classes=5, norm=pool == "mean", batch_norm=batch_norm, init_std=0.01),
        "pool": pool,
        "trainable_blocks": None,
        "label_smoothing": 0.0,
        "mixing": None,
        "erasing": None,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    }
    return Classifier(**(settings | changes))
