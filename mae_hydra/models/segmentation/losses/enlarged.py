"""Losses of logits at the size of the labels, a few images at a time."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.graph import saved_tensors_hooks

from mae_hydra.models.segmentation.resized_convolution import resize_matrix
from mae_hydra.models.segmentation.upernet_head import resize
from mae_hydra.types import Loss

ENLARGED_BYTES = 2**28  # of logits at the size of the labels
STRIP_BYTES = 2**22  # of them, so that a few of their size stay in the processor's cache; 0: no strips
Total = Callable[[Tensor, Tensor], Tensor]


class EnlargedLoss(nn.Module):
    """A loss that is a sum over images, of logits that are enlarged to the labels' size; in float32 or better.

    The count is the labelled pixels. What `total` makes of one image must not depend on the others. A loss that takes
    its mean over a whole image, as Dice does, gives it times the image's labelled pixels: then it can be added to one
    that is a sum over pixels, which says so in `adds_pixels`.
    """

    normalizer = "valid"
    adds_pixels = False

    def __init__(self, *, ignore_index: int) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"]) -> Loss:
        return Loss(in_parts(self.total, logits, labels, by_rows=self.adds_pixels), (labels != self.ignore_index).sum())

    def total(self, logits: Float[Tensor, "b classes h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        """The sum over some images, of enlarged logits."""
        raise NotImplementedError


def in_parts(
    total: Total,
    logits: Float[Tensor, "b classes _ _"],
    labels: Integer[Tensor, "b h w"],
    *,
    by_rows: bool = False,
) -> Float[Tensor, ""]:
    """`total(enlarged logits, labels)` added up over some images after the others.

    `ENLARGED_BYTES` of logits are enlarged at a time, and what is kept for the backward pass is the gradient of the
    small logits: at 150 classes and 512x512 pixels the rest would be half a gigabyte an image. `by_rows`: also over
    some rows after the others, which `total` must allow; done on the CPU, where that stays in the cache.
    """
    # Contiguous, for all that is done with them enlarged keeps their order and softmax has one.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).contiguous()
    image_bytes = logits.shape[1] * labels[0].numel() * logits.element_size()
    at_once = max(ENLARGED_BYTES // image_bytes, 1)
    on_cpu = logits.device.type == "cpu" and not (torch.compiler.is_compiling() or isinstance(logits, FakeTensor))
    if by_rows and on_cpu and 0 < STRIP_BYTES < image_bytes // 2:
        return _InStrips.apply(logits, labels, total)
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


class _InStrips(torch.autograd.Function):
    """`_enlarged` of some rows of an image after the others; the gradient is worked out on the way, up to one factor.

    Bilinear enlarging is R x C^T with two matrices; a strip needs a few rows of x.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, total: Total) -> Tensor:
        wanted, (height, width) = ctx.needs_input_grad[0], labels.shape[1:]
        source = logits.shape[2]
        kind: Any = {"dtype": logits.dtype, "device": logits.device}
        rows, columns = resize_matrix(source, height, **kind), resize_matrix(logits.shape[3], width, **kind).mT
        together = max(STRIP_BYTES // (logits.shape[1] * width * logits.element_size()), 1)
        summed, gradient = logits.new_zeros(()), torch.zeros_like(logits) if wanted else None
        full = torch.autocast(logits.device.type, enabled=False)  # these products are an interpolation
        for top in range(0, height, together):
            strip = slice(top, min(top + together, height))
            lowest, highest = ((row + 0.5) * source / height - 0.5 for row in (strip.start, strip.stop - 1))
            used = slice(max(int(lowest), 0), min(int(max(highest, 0)) + 2, source))
            for image in range(len(labels)):
                with full, torch.set_grad_enabled(wanted), saved_tensors_hooks(_as_it_is, _as_it_is):
                    part = logits[image : image + 1, :, used].detach().requires_grad_(wanted)
                    loss = total(rows[strip, used] @ (part @ columns), labels[image : image + 1, strip])
                summed = summed + loss.detach()
                if gradient is not None:
                    gradient[image : image + 1, :, used] += torch.autograd.grad(loss, part)[0]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return summed

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * factors[0], None, None
