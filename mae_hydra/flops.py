"""How many floating-point operations a training step takes, from shapes alone: nothing is computed."""

from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_hydra.types import Batch


def training_flops(model: Any, images: Batch) -> float:
    """Floating-point operations of one of `images`, forward and backward; `model` may be on the meta device.

    Products of matrices, convolutions and attention, 2 for a multiplication with its addition, as in the literature.
    The model is left in training mode.
    """
    with faked(model) as copy, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        copy.loss(_like_batch(images)).total.backward()
    return counter.get_total_flops() / len(images)


class faked:
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


def _like_batch(batch: Batch) -> Batch:
    labels = None if batch.labels is None else torch.zeros(batch.labels.shape, dtype=batch.labels.dtype)
    return Batch(torch.zeros(batch.images.shape, dtype=batch.images.dtype), labels)
