"""Parameters and floating-point operations of a model's parts, counted without computing anything."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Part(NamedTuple):
    """`parameters` of the part; `flops` of one forward pass, 2 for a multiplication with its addition."""

    name: str
    parameters: int
    flops: int


def count_parts(model: nn.Module, *inputs: torch.Tensor) -> list[Part]:
    """The direct children of `model`, then all of it under the name "total".

    Model and inputs may be on the meta device. Counted are products of matrices, convolutions and attention; what is
    element by element is not, as in the literature. What is computed outside of any module counts in the total only.
    """
    counter = FlopCounterMode(display=False)
    # Fused attention has no fixed kernel on the meta device; the plain form has the same products.
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), counter:
        model(*inputs)
    counts = {name: sum(of_module.values()) for name, of_module in counter.get_flop_counts().items()}
    root = type(model).__name__
    parts = [Part(name, _parameters(child), _flops(f"{root}.{name}", counts)) for name, child in model.named_children()]
    return [*parts, Part("total", _parameters(model), counts["Global"])]


def _flops(name: str, counts: Mapping[str, int]) -> int:
    """Add up a module's FLOPs; where its methods are called instead, those of the modules right below it."""
    if name in counts:
        return counts[name]
    below = [other for other in counts if other.startswith(f"{name}.")]
    return sum(counts[other] for other in below if not any(other.startswith(f"{above}.") for above in below))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
