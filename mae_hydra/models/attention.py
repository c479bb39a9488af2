"""Self-attention with a learned bias for every relative position, as in BEiT."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mae_hydra.relative_positions import num_relative_positions


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
