"""Fixed 2-D sine-cosine positions in the layout on which the released MAE weights rely."""

import torch
from jaxtyping import Float
from torch import Tensor


def sincos_axis(positions: Float[Tensor, "n"], width: int) -> Float[Tensor, "n width"]:
    """[sin(pos * omega) | cos(pos * omega)] with omega_k = 10000^(-2k / width), in float64."""
    k = torch.arange(width // 2, dtype=torch.float64, device=positions.device)
    angles = positions.double()[:, None] * 10000.0 ** (-2.0 * k / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_positions(
    dim: int, grid: tuple[int, int], span: tuple[int, int] | None = None, num_cls_tokens: int = 1
) -> Float[Tensor, "1 tokens dim"]:
    """(1, C + h*w, dim) in float64: a zero row for each of C cls tokens, then the patches row by row.

    The first half of the width encodes the *column*, the second half the row: [sin_w | cos_w | sin_h | cos_h].
    `span`: the grid whose places count. Patches of a coarser one stand at their centres in it, so that a small image
    is a large one seen from further away: patch i of n stands at (i + 1/2) * span / n - 1/2.
    """
    if dim % 4:
        raise ValueError(f"embed_dim must be a multiple of 4 for sine-cosine positions, got {dim}")
    height, width = grid
    rows, columns = (_places(count, whole) for count, whole in zip(grid, span or grid, strict=True))
    rows, columns = rows.repeat_interleave(width), columns.repeat(height)
    patches = torch.cat([sincos_axis(columns, dim // 2), sincos_axis(rows, dim // 2)], dim=1)
    return torch.cat([patches.new_zeros(num_cls_tokens, dim), patches])[None]


def _places(count: int, span: int) -> Float[Tensor, "n"]:
    places = torch.arange(count, dtype=torch.float64)
    return places if count == span else (places + 0.5) * (span / count) - 0.5
