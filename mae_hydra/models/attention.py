"""Self-attention with a learned bias for every relative position, as in BEiT."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


def relative_position_index(grid: tuple[int, int]) -> Int64[Tensor, "n n"]:
    """Row of the bias table for every (query, key) pair of 1 + h*w tokens, cls first.

    Patch to patch: (qh - kh + h - 1)(2w - 1) + (qw - kw + w - 1). The three last of the n = (2h - 1)(2w - 1) + 3 rows
    belong to the cls token: n - 3 cls to patch, n - 2 patch to cls, n - 1 cls to cls.
    """
    height, width = grid
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    row_offset = rows[:, None] - rows[None, :] + height - 1
    column_offset = columns[:, None] - columns[None, :] + width - 1
    rows_in_table = num_relative_positions(grid)
    index = torch.empty(1 + height * width, 1 + height * width, dtype=torch.int64)
    index[1:, 1:] = row_offset * (2 * width - 1) + column_offset
    index[0, :] = rows_in_table - 3
    index[:, 0] = rows_in_table - 2  # after the row above: the corner belongs to neither
    index[0, 0] = rows_in_table - 1
    return index


def num_relative_positions(grid: tuple[int, int]) -> int:
    """Rows of the bias table: all patch offsets, and three for the cls token."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3


class RelativeAttention(nn.Module):
    """softmax(q k^T / sqrt(d) + bias) v; one fused qkv projection with full bias, and a bias table that starts at 0."""

    def __init__(self, dim: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(num_relative_positions(grid), num_heads))

    def relative_position_bias(self, index: Int64[Tensor, "n n"]) -> Float[Tensor, "heads n n"]:
        """The table spread out over all (query, key) pairs."""
        by_head = self.relative_position_bias_table.t()  # heads first: half the time of permuting afterwards
        return by_head.index_select(1, index.flatten()).view(-1, *index.shape)

    def forward(self, tokens: Float[Tensor, "b n d"], index: Int64[Tensor, "n n"]) -> Float[Tensor, "b n d"]:
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias(index).to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).flatten(2))
