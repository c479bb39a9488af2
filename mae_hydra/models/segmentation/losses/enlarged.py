"""Losses of logits at the size of the labels, a few images at a time."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from mae_hydra.models.segmentation.upernet_head import resize
from mae_hydra.types import Loss

ENLARGED_BYTES = 2**28  # of logits at the size of the labels
Total = Callable[[Tensor, Tensor], Tensor]


class EnlargedLoss(nn.Module):
    """A loss that is a sum over images, of logits that are enlarged to the labels' size; in float32 or better.

    The count is the labelled pixels. What `total` makes of one image must not depend on the others. A loss that takes
    its mean over a whole image, as Dice does, gives it times the image's labelled pixels: then it can be added to one
    that is a sum over pixels.
    """

    normalizer = "valid"

    def __init__(self, *, ignore_index: int) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"]) -> Loss:
        return Loss(in_parts(self.total, logits, labels), (labels != self.ignore_index).sum())

    def total(self, logits: Float[Tensor, "b classes h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        """The sum over some images, of enlarged logits."""
        raise NotImplementedError


def in_parts(
    total: Total, logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """`total(enlarged logits, labels)` added up over some images after the others.

    `ENLARGED_BYTES` of logits are enlarged at a time, and what is kept for the backward pass is the gradient of the
    small logits: at 150 classes and 512x512 pixels the rest would be half a gigabyte an image.
    """
    # Contiguous, for all that is done with them enlarged keeps their order and softmax has one.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).contiguous()
    image_bytes = logits.shape[1] * labels[0].numel() * logits.element_size()
    at_once = max(ENLARGED_BYTES // image_bytes, 1)
    if len(labels) <= at_once:
        return _enlarged(total, logits, labels)
    return _InParts.apply(logits, labels, total, at_once)


def _enlarged(total: Total, logits: Tensor, labels: Tensor) -> Tensor:
    return total(resize(logits, labels.shape[1:]), labels)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


class _InParts(torch.autograd.Function):
    """`_enlarged` of some images after the others; the gradient is worked out on the way, up to one factor."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, total: Total, at_once: int) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        summed, gradients = logits.new_zeros(()), []
        for some, of_some in zip(logits.split(at_once), labels.split(at_once), strict=True):
            # Hooks of the outside count what waits for the backward pass; this here does not wait.
            with torch.set_grad_enabled(wanted), saved_tensors_hooks(_as_it_is, _as_it_is):
                part = some.detach().requires_grad_(wanted)
                loss = _enlarged(total, part, of_some)
            summed = summed + loss.detach()
            if wanted:
                gradients += torch.autograd.grad(loss, part)
        if wanted:
            ctx.save_for_backward(torch.cat(gradients))
        return summed

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * factors[0], None, None, None
