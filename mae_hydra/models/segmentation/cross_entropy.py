"""Cross-entropy of pixels, as a sum and a count."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mae_hydra.models.segmentation.upernet_head import resize
from mae_hydra.types import Loss

NORMALIZERS = ("valid", "all")
ENLARGED_BYTES = 2**28  # of logits at the size of the labels


class PixelCrossEntropy(nn.Module):
    """Cross-entropy summed over labelled pixels, in float32 or better.

    `normalizer`: what the sum is divided by: "valid" pixels, or "all" pixels, ignored ones included (mmsegmentation's
    divisor, with which the published losses were made).
    """

    def __init__(self, *, ignore_index: int, normalizer: str = "valid") -> None:
        super().__init__()
        if normalizer not in NORMALIZERS:
            raise ValueError(f"normalizer must be 'valid' or 'all', got {normalizer!r}")
        self.ignore_index, self.normalizer = ignore_index, normalizer

    def forward(self, logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"]) -> Loss:
        return Loss(
            pixel_cross_entropy(logits, labels, self.ignore_index),
            pixel_count(labels, self.ignore_index, self.normalizer),
        )


def pixel_cross_entropy(
    logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"], ignore_index: int
) -> Float[Tensor, ""]:
    """Summed over labelled pixels, of logits that are enlarged to the labels' size; float32 or better.

    A few images are enlarged at a time, `ENLARGED_BYTES` of logits, and what is kept for the backward pass is the
    gradient of the small logits: at 150 classes and 512x512 pixels the rest would be half a gigabyte an image.
    """
    # Contiguous, for all that is done with them enlarged keeps their order and softmax has one.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).contiguous()
    each = logits.shape[1] * labels[0].numel() * logits.element_size()
    at_once = max(ENLARGED_BYTES // each, 1)
    if len(labels) <= at_once:
        return _enlarged(logits, labels, ignore_index)
    return _InParts.apply(logits, labels, ignore_index, at_once)


def _enlarged(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    sized = resize(logits, labels.shape[1:])
    return F.cross_entropy(sized, labels, ignore_index=ignore_index, reduction="sum")


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


class _InParts(torch.autograd.Function):
    """`_enlarged` of some images after the others; the gradient is worked out on the way, up to one factor."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, ignore_index: int, at_once: int) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        total, gradients = logits.new_zeros(()), []
        for some, of_some in zip(logits.split(at_once), labels.split(at_once), strict=True):
            # Hooks of the outside count what waits for the backward pass; this here does not wait.
            with torch.set_grad_enabled(wanted), saved_tensors_hooks(_as_it_is, _as_it_is):
                part = some.detach().requires_grad_(wanted)
                loss = _enlarged(part, of_some, ignore_index)
            total = total + loss.detach()
            if wanted:
                gradients += torch.autograd.grad(loss, part)
        if wanted:
            ctx.save_for_backward(torch.cat(gradients))
        return total

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * factors[0], None, None, None


def pixel_count(labels: Integer[Tensor, "b h w"], ignore_index: int, normalizer: str) -> Tensor:
    """What the sum is divided by: "valid" (labelled) pixels, or "all" of them, as mmsegmentation does."""
    if normalizer == "valid":
        return (labels != ignore_index).sum()
    return torch.full((), labels.numel(), device=labels.device)
