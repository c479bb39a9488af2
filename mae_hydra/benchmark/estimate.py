"""What a training step needs, worked out from its shapes: nothing is computed and no memory is taken."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from mae_hydra.batch_norm import loss_of_a_step
from mae_hydra.benchmark.memory import SavedStorages
from mae_hydra.engine.sharding import blocks_of
from mae_hydra.flops import faked
from mae_hydra.precision import AUTOCAST
from mae_hydra.types import DEFAULT_SIZE, Batch, Loss, answers, channels_of, image_size_of


class Activations(NamedTuple):
    """Bytes that are kept for the backward pass: of every image, and however many there are (casts of weights).

    `of_step`: needed instead of all images' `per_image` where that is less.
    """

    per_image: int
    fixed: int
    of_step: int = 0

    def of(self, images: int) -> int:
        """Count the bytes for so many images at a time."""
        return self.fixed + max(self.per_image * images, self.of_step)


def activations(model: nn.Module, precision: str, *, recompute: bool = False) -> Activations:
    """What autograd keeps of a step in "fp32", "bf16" or "fp16", by shapes, for two and for four images.

    `recompute`: blocks keep their input only, and one of them at a time the rest as well (`engine.recompute`).
    Temporary memory of kernels and what an allocator loses between blocks is not in it: on a GPU about a tenth more.
    """
    two, four = (_kept(model, precision, images, recompute) for images in (2, 4))
    per_image = (four - two) // 2
    return Activations(per_image, max(two - 2 * per_image, 0))


def moments_of(optimizer: torch.optim.Optimizer) -> int:
    """How many numbers an optimizer on the meta device keeps of its parameters: of AdamW two each, of Lion one.

    One that asks for values, as torch's Adafactor does, is counted like AdamW.
    """
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except RuntimeError:
        return 2 * sum(parameter.numel() for parameter in trained)
    finally:
        optimizer.zero_grad()
    kept = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.numel() for value in kept if isinstance(value, torch.Tensor) and value.ndim)


def state_bytes(model: nn.Module, moments: int, *, average: bool) -> tuple[int, int]:
    """Bytes in memory while training (weights, gradients, moments, the average) and in a checkpoint, in fp32."""
    every = sum(p.numel() for p in model.parameters()) + sum(b.numel() for b in model.buffers())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = 2 if average else 1
    return 4 * (copies * every + trained + moments), 4 * (copies * _saved(model) + moments)


def _saved(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.state_dict().values())


def activations_of_a_step(model: Any, precision: str, images: int, *, recompute: bool = False) -> Activations:
    """Count what `activations` does, with `engine.batch_norm=step` and so many images in a process's part of a step.

    What follows the encoder is kept of all of them, and given back before the first of them is encoded again; then
    there are the gradients of their features.
    """
    whole = activations(model, precision, recompute=recompute)
    two, four = (_kept(InTwoPasses(model), precision, number, recompute=False) for number in (2, 4))
    after = (four - two) // 2
    with faked(model) as copy, _autocast(precision in AUTOCAST):
        features = sum(part.nbytes for part in copy.features(example_batch(copy, 2))) // 2
    return Activations(max(whole.per_image - after, 0), whole.fixed + features * images, (after - features) * images)


class InTwoPasses(nn.Module):
    """`model` as a step with `engine.batch_norm=step` computes it, of which every image is a micro-batch."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def loss(self, batch: Batch) -> Loss:
        parts = zip(batch.images.split(1), batch.labels.split(1), strict=True)  # type: ignore[union-attr]  # it has some
        return loss_of_a_step(self.model, [Batch(*part) for part in parts])


def _kept(model: nn.Module, precision: str, images: int, recompute: bool) -> int:
    """Bytes kept until the backward pass, and where blocks are computed again, what the largest of them keeps then."""
    inside: list[int] = []

    def input_only(forward: Any) -> Any:
        def call(*inputs: Any) -> Any:
            for tensor in inputs:
                if isinstance(tensor, torch.Tensor):
                    kept.note(tensor)
            own = SavedStorages(copy)
            with own.noting():
                made = forward(*inputs)
            inside.append(own.size)
            return made

        return call

    # The processor's autocast stands in for the accelerator's: fp16 takes what bf16 takes.
    with faked(model) as copy, _autocast(precision in AUTOCAST):
        kept = SavedStorages(copy)
        blocks: list[Any] = list(blocks_of(copy)) if recompute else []
        for block in blocks:
            block.forward = input_only(block.forward)
        try:
            with kept.noting():
                copy.loss(example_batch(copy.model if isinstance(copy, InTwoPasses) else copy, images))
        finally:
            for block in blocks:
                del block.forward
    return kept.size + max(inside, default=0)


def _autocast(enabled: bool) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if enabled else nullcontext()


def example_batch(model: Any, images: int, size: tuple[int, int] | None = None, *, noise: bool = False) -> Batch:
    """Make a batch of empty images, with labels of the kind that the model learns from.

    `size`: (H, W) in pixels, by default what the model is made for, 224x224 where it takes any. `noise`: bytes and
    classes are drawn, from a fixed seed.
    """
    size = size or image_size_of(model) or DEFAULT_SIZE
    pictures = torch.zeros(images, channels_of(model), *size, dtype=torch.uint8)
    labels = None
    if (kind := answers(model)) in ("pixels", "images"):
        shape, dtype = ((images, *size), torch.uint8) if kind == "pixels" else ((images,), torch.int64)
        labels = torch.zeros(shape, dtype=dtype)
    if noise:
        dice = torch.Generator().manual_seed(0)
        pictures.random_(0, 256, generator=dice)
        if labels is not None:
            labels.random_(0, model.num_classes, generator=dice)
    return Batch(pictures, labels)
