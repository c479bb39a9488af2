"""What a training step needs, worked out from its shapes: nothing is computed and no memory is taken."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_hydra.engine.settings import AUTOCAST
from mae_hydra.types import Batch


class Activations(NamedTuple):
    """Bytes that are kept for the backward pass: of every image, and however many there are (casts of weights)."""

    per_image: int
    fixed: int


def training_flops(model: nn.Module) -> float:
    """Floating-point operations of one image, forward and backward; `model` may be on the meta device.

    Products of matrices, convolutions and attention, 2 for a multiplication with its addition, as in the literature.
    """
    with _faked(model) as faked, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        faked.loss(_batch(faked, 2)).total.backward()
    return counter.get_total_flops() / 2


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
    with _faked(model) as faked:
        own = {parameter.untyped_storage()._cdata for parameter in faked.parameters()}
        # The processor's autocast stands in for the accelerator's: fp16 takes what bf16 takes.
        with saved_tensors_hooks(note, lambda tensor: tensor), _autocast(dtype is not None):
            faked.loss(_batch(faked, images))
    return sum(found.values())


def _autocast(enabled: bool) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if enabled else nullcontext()


class _faked:
    """A context with `model`'s tensors replaced by ones that have shapes only; they come back at its end."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.mode = model, FakeTensorMode()
        self._kept: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def __enter__(self) -> Any:
        self.mode.__enter__()
        for module in self.model.modules():
            holders: tuple[Any, Any] = (module._parameters, module._buffers)
            for tensors in holders:
                self._kept.append((tensors, dict(tensors)))
                for name, tensor in list(tensors.items()):
                    if tensor is not None:
                        tensors[name] = _like(tensor)
        self.model.train()
        return self.model

    def __exit__(self, *error: Any) -> None:
        for tensors, kept in self._kept:
            tensors.update(kept)
        self.mode.__exit__(*error)


def _like(tensor: torch.Tensor) -> torch.Tensor:
    made = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _batch(model: Any, images: int) -> Batch:
    size = model.encoder.image_size
    labels = torch.zeros(images, *size, dtype=torch.uint8) if hasattr(model, "num_classes") else None
    return Batch(torch.zeros(images, model.encoder.in_chans, *size, dtype=torch.uint8), labels)
