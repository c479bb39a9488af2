"""Which images batch normalisation takes its statistics from: of all processes, and of all micro-batches of a step.

Both are exact, in the gradient as well: a batch that is cut gives what it gives in one piece. B batch, C channels.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.utils.checkpoint import checkpoint

from mae_hydra.distributed import all_reduce_sum, world_size
from mae_hydra.errors import UserError
from mae_hydra.types import Batch, Loss, TwoPart


def learned_statistics(model: nn.Module) -> list[_BatchNorm]:
    """The layers that take their statistics from the images at hand: those of a frozen part are not among them."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.training]


def running_statistics(model: nn.Module) -> list[Tensor]:
    """What a forward pass changes in a model: the buffers of batch normalisation."""
    layers = (module for module in model.modules() if isinstance(module, _NormBase))
    return [values for layer in layers for values in layer.buffers(recurse=False)]


def check_enough(images: int, way_out: str = "data.batch_size=2 or more") -> None:
    """UserError where so many images in each process are too few to take statistics from."""
    if images * world_size() < 2:
        raise UserError(f"batch normalization needs at least 2 images at a time; use {way_out}")


def synchronise(model: nn.Module, device: torch.device) -> None:
    """Have every batch normalisation take its statistics from the images of all processes, in place, under its keys.

    On CUDA by torch's own `SyncBatchNorm`, which has no form for other devices.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = partial(_synchronised, layer, layer.forward)  # type: ignore[method-assign]


def _synchronised(
    layer: _BatchNorm, alone: Callable[[Tensor], Tensor], x: Float[Tensor, "b c *size"]
) -> Float[Tensor, "b c *size"]:
    if not layer.training:
        return alone(x)
    y, mean, variance, count = _OverProcesses.apply(x, layer.weight, layer.bias, layer.eps)
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        momentum = 1 / layer.num_batches_tracked if layer.momentum is None else layer.momentum
        for running, value in ((layer.running_mean, mean), (layer.running_var, variance * (count / (count - 1)))):
            running.mul_(1 - momentum).add_(value * momentum)
    return y


class _OverProcesses(torch.autograd.Function):
    """Normalised `x`, its mean and (biased) variance, and how many values of a channel they are of.

    The sums of all processes are added up in float64, however many images each has; so are those of the gradient, which
    flows through mean and variance: dx = weight / std * (dy - mean(dy) - y * mean(dy * y)), y before weight and bias.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own, mean = torch.var_mean(_at_least_float32(x), _all_but_channels(x), correction=0)
        number = x.numel() // x.shape[1]
        added = torch.stack([mean, own + mean.double().square(), torch.ones_like(mean)]).double() * number
        first, second, count = all_reduce_sum(added)
        mean = first / count
        variance = (second / count - mean.square()).clamp(min=0)
        kind = own.dtype
        ctx.save_for_backward(x, weight, mean.to(kind), (variance + eps).rsqrt().to(kind))
        ctx.count = count
        y = F.batch_norm(x, mean.to(kind), variance.to(kind), weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, mean, scale = ctx.saved_tensors
        dy = gradients[0].to(mean.dtype)
        shape = (-1, *[1] * (x.ndim - 2))
        normal = (x - mean.view(shape)) * scale.view(shape)
        dims = _all_but_channels(x)
        of_bias, of_weight = dy.sum(dims), (dy * normal).sum(dims)
        dx = None
        if ctx.needs_input_grad[0]:
            means = all_reduce_sum(torch.stack([of_bias, of_weight]).double()) / ctx.count
            shift, slope = (value.to(dy.dtype).view(shape) for value in means)
            factor = scale if weight is None else scale * weight
            dx = ((dy - shift - normal * slope) * factor.view(shape)).to(x.dtype)
        return dx, of_weight if ctx.needs_input_grad[1] else None, of_bias if ctx.needs_input_grad[2] else None, None


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def loss_of_a_step(model: nn.Module, batches: Sequence[Batch]) -> Loss:
    """The loss of all micro-batches of a step as if they were one batch, in two passes (GradCache, arXiv 2101.06983).

    The first computes each micro-batch's features and forgets how; the rest of the model sees those of all at once.
    The backward pass computes a micro-batch's features a second time when their gradient has come, one micro-batch
    after the other. What is drawn at random is drawn alike both times. UserError where features depend on other images.
    """
    assert isinstance(model, TwoPart)
    with _without_statistics(model):
        parts = [_computed_twice(model.features, batch) for batch in batches]
    labels = [batch.labels for batch in batches if batch.labels is not None]
    whole = Batch(torch.cat([batch.images for batch in batches]), torch.cat(labels) if labels else None)
    return model.loss_of(tuple(torch.cat(part) for part in zip(*parts, strict=True)), whole)


def _computed_twice(features: Callable[[Batch], tuple[Tensor, ...]], batch: Batch) -> tuple[Tensor, ...]:
    # As a tensor, not as a batch: `checkpoint` looks at it for the device whose random state it keeps.
    return checkpoint(
        lambda images: features(replace(batch, images=images)),
        batch.images,
        use_reentrant=False,
        context_fn=_same_draws,
    )


def _same_draws() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What both passes run in: Python's generator is put back for the second, as `checkpoint` does with torch's."""
    return nullcontext(), _python_draws_from(random.getstate())


@contextmanager
def _python_draws_from(state: Any) -> Iterator[None]:
    now = random.getstate()
    random.setstate(state)
    try:
        yield
    finally:
        random.setstate(now)


@contextmanager
def _without_statistics(model: nn.Module) -> Iterator[None]:
    """Features must not depend on other images, else those of a micro-batch are not those of the whole step."""

    def refuse(layer: nn.Module, inputs: Any) -> None:
        raise UserError(
            "engine.batch_norm=step computes features of one micro-batch at a time, and this model has batch "
            "normalization in them; use engine.batch_norm=micro with a larger data.batch_size, "
            "and engine.recompute=true where memory is short"
        )

    hooks = [layer.register_forward_pre_hook(refuse) for layer in learned_statistics(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
