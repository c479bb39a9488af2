"""Stochastic depth (Huang et al. 2016): while training, a sample skips a branch of a block with a given probability."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """x * kept / (1 - rate) with kept = 0 or 1 drawn for every sample; in eval mode x itself.

    What timm's does; but the probability is a tensor, not a number of the program, so that blocks of different rates
    compile as one graph instead of one each.
    """

    keep: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("keep", torch.tensor(1 - rate), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        shape = (len(x), *[1] * (x.ndim - 1))
        kept = torch.rand(shape, device=x.device) < self.keep
        return x * (kept / self.keep).to(x.dtype)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"


def drop_path(rate: float | None) -> nn.Module:
    """Of `rate`, which may be 0, so that all blocks of a stack are of one kind; None where the whole stack has none."""
    return nn.Identity() if rate is None else DropPath(rate)
