"""Cross-entropy of pixels, as sums and counts."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from mae_hydra.models.upernet_head import resize

NORMALIZERS = ("valid", "all")


def pixel_cross_entropy(
    logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"], ignore_index: int
) -> Float[Tensor, ""]:
    """Summed over labelled pixels, of logits that are enlarged to the labels' size; float32 or better."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    sized = resize(logits, labels.shape[1:])
    return F.cross_entropy(sized, labels, ignore_index=ignore_index, reduction="sum")


def pixel_count(labels: Integer[Tensor, "b h w"], ignore_index: int, normalizer: str) -> Tensor:
    """What the sum is divided by: "valid" (labelled) pixels, or "all" of them, as mmsegmentation does."""
    if normalizer == "valid":
        return (labels != ignore_index).sum()
    return torch.full((), labels.numel(), device=labels.device)


def check_normalizer(normalizer: str) -> None:
    """ValueError where there is no such divisor."""
    if normalizer not in NORMALIZERS:
        raise ValueError(f"normalizer must be 'valid' or 'all', got {normalizer!r}")
