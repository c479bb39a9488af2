"""What a training step needs, worked out from its shapes: nothing is computed and no memory is taken."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from mae_hydra.engine.settings import AUTOCAST
from mae_hydra.flops import faked
from mae_hydra.models import Classifier
from mae_hydra.types import Batch


class Activations(NamedTuple):
    """Bytes that are kept for the backward pass: of every image, and however many there are (casts of weights)."""

    per_image: int
    fixed: int


def activations(model: nn.Module, precision: str) -> Activations:
    """What autograd keeps of a step in "fp32", "bf16" or "fp16", by shapes, for two and for four images.

    Temporary memory of kernels and what an allocator loses between blocks is not in it: on a GPU about a tenth more.
    """
    two, four = (_kept(model, precision, images) for images in (2, 4))
    per_image = (four - two) // 2
    return Activations(per_image, max(two - 2 * per_image, 0))


def state_bytes(model: nn.Module, *, average: bool) -> tuple[int, int]:
    """Bytes in memory while training (weights, gradients, two moments, the average) and in a checkpoint, in fp32."""
    every = sum(p.numel() for p in model.parameters()) + sum(b.numel() for b in model.buffers())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    copies = 2 if average else 1
    return 4 * (copies * every + 3 * trained), 4 * (copies * _saved(model) + 2 * trained)


def _saved(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.state_dict().values())


def _kept(model: nn.Module, precision: str, images: int) -> int:
    """Bytes of all storages that the backward pass will read, parameters aside, each once."""
    found: dict[int, int] = {}
    alive: list[Any] = []  # so that no storage's number is given away twice

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            found[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    dtype = AUTOCAST.get(precision)
    with faked(model) as copy:
        own = {parameter.untyped_storage()._cdata for parameter in copy.parameters()}
        # The processor's autocast stands in for the accelerator's: fp16 takes what bf16 takes.
        with saved_tensors_hooks(note, lambda tensor: tensor), _autocast(dtype is not None):
            copy.loss(example_batch(copy, images))
    return sum(found.values())


def _autocast(enabled: bool) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if enabled else nullcontext()


def example_batch(model: Any, images: int) -> Batch:
    """As many empty images as `images` says, with labels of the kind that the model learns from."""
    size = model.encoder.image_size
    labels = None
    if isinstance(model, Classifier):
        labels = torch.zeros(images, dtype=torch.int64)
    elif hasattr(model, "num_classes"):
        labels = torch.zeros(images, *size, dtype=torch.uint8)
    return Batch(torch.zeros(images, model.encoder.in_chans, *size, dtype=torch.uint8), labels)
