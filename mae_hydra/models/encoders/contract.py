"""What an encoder owes, asked of an object before a model is built on it."""

from typing import Any

OWED = ("feature_maps", "depth_of", "num_depths", "widths", "strides")
OWED_MASKED = ("tokens", "image_size", "patch_size", "grid", "num_patches", "embed_dim", "in_chans")


def check_encoder(encoder: Any, *, masked: bool = False) -> None:
    """ValueError where something is no encoder, naming what it lacks (`mae_hydra.types.Encoder`).

    `masked`: nor one that a masked autoencoder can hide patches from (`MaskedEncoder`).
    """
    lacking = [name for name in (*OWED, *(OWED_MASKED if masked else ())) if not hasattr(encoder, name)]
    if lacking:
        purpose = "of a masked autoencoder " if masked else ""
        raise ValueError(
            f"{type(encoder).__name__} is no encoder {purpose}(it has no {', '.join(lacking)}): docs/extending.md says "
            "what one owes"
        )
