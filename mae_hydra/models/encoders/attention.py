"""Self-attention with a learned bias for every relative position, as in BEiT."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mae_hydra.models.encoders.biased_attention import biased_attention
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

    def forward(
        self, tokens: Float[Tensor, "b n d"], positions: Int64[Tensor, "n n"] | Float[Tensor, "heads n n"]
    ) -> Float[Tensor, "b n d"]:
        """`positions`: the index of all pairs, or the bias already spread out (`relative_position_bias`)."""
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = positions if positions.is_floating_point() else self.relative_position_bias(positions)
        return self.proj(biased_attention(q, k, v, bias).transpose(1, 2).flatten(2))
