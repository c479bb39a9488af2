"""How far two computations may be apart: limits for equal mathematics in two precisions."""

import torch
from torch import Tensor

FLOAT64, FLOAT32 = 1e-10, 1e-5


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, in units of the largest value."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.detach().double(), theirs.detach().double()
    difference = (ours - theirs).abs().max()
    return float(difference / theirs.abs().max()) if difference > 0 else 0.0


def limit(dtype: torch.dtype) -> tuple[str, float]:
    """The name of a precision and what it may be off."""
    return ("float64", FLOAT64) if dtype == torch.float64 else ("float32", FLOAT32)
