"""Fixed 2-D sine-cosine positions in the layout on which the released MAE weights rely."""

import torch
from jaxtyping import Float
from torch import Tensor


def sincos_axis(positions: Float[Tensor, "n"], width: int) -> Float[Tensor, "n width"]:
    """[sin(pos * omega) | cos(pos * omega)] with omega_k = 10000^(-2k / width), in float64."""
    k = torch.arange(width // 2, dtype=torch.float64, device=positions.device)
    angles = positions.double()[:, None] * 10000.0 ** (-2.0 * k / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_positions(dim: int, grid: tuple[int, int]) -> Float[Tensor, "1 tokens dim"]:
    """(1, 1 + h*w, dim) in float64: a zero row for the cls token, then the patches row by row.

    The first half of the width encodes the *column*, the second half the row: [sin_w | cos_w | sin_h | cos_h].
    """
    if dim % 4:
        raise ValueError(f"embed_dim must be a multiple of 4 for sine-cosine positions, got {dim}")
    height, width = grid
    rows = torch.arange(height, dtype=torch.float64).repeat_interleave(width)
    columns = torch.arange(width, dtype=torch.float64).repeat(height)
    patches = torch.cat([sincos_axis(columns, dim // 2), sincos_axis(rows, dim // 2)], dim=1)
    return torch.cat([patches.new_zeros(1, dim), patches])[None]
