"""Transformer blocks: timm's for the plain ViT, and the form with relative positions and LayerScale of UPerNet-MAE."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_hydra.models.encoders.attention import RelativeAttention
from mae_hydra.models.encoders.drop_path import drop_path
from mae_hydra.models.encoders.plain_attention import PlainAttention

NORM_EPS = 1e-6  # of the official code and its weights, and of mmsegmentation's and timm's configurations of MAE
LayerNorm: Any = partial(nn.LayerNorm, eps=NORM_EPS)


def set_norm_eps(module: nn.Module, eps: float) -> None:
    """What every LayerNorm in `module` adds to the variance; ValueError where that is not positive."""
    if not eps > 0:
        raise ValueError(f"norm_eps must be positive, got {eps}")
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = eps


def plain_block(dim: int, num_heads: int, mlp_ratio: float, drop_rate: float | None = None) -> Block:
    """timm's pre-norm block with a fully biased qkv, LayerNorm eps 1e-6, our attention and our DropPath."""
    block: Any = Block(dim, num_heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm)
    block.attn.__class__ = PlainAttention  # building one anew would draw further random numbers
    block.drop_path1, block.drop_path2 = drop_path(drop_rate), drop_path(drop_rate)
    return block


class ScaledBlock(nn.Module):
    """x += DropPath(gamma_1 * attention(norm1(x))); x += DropPath(gamma_2 * mlp(norm2(x))).

    `drop_rate`: see `drop_path`. `grid` asks for a relative position bias over that grid; `layer_scale` is where both
    gammas start (None: no gammas).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        drop_rate: float | None,
        grid: tuple[int, int] | None,
        layer_scale: float | None,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn: nn.Module
        if grid is None:
            self.attn = PlainAttention(dim, num_heads, qkv_bias=True)
        else:
            self.attn = RelativeAttention(dim, num_heads, grid)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = drop_path(drop_rate)
        self.gamma_1 = None if layer_scale is None else nn.Parameter(torch.full((dim,), float(layer_scale)))
        self.gamma_2 = None if layer_scale is None else nn.Parameter(torch.full((dim,), float(layer_scale)))

    def forward(
        self,
        tokens: Float[Tensor, "b n d"],
        positions: Int64[Tensor, "n n"] | Float[Tensor, "heads n n"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """`positions`: as RelativeAttention takes them, None without relative positions."""
        normed = self.norm1(tokens)
        mixed = self.attn(normed) if positions is None else self.attn(normed, positions)
        tokens = tokens + self.drop_path(mixed if self.gamma_1 is None else self.gamma_1 * mixed)
        changed = self.mlp(self.norm2(tokens))
        return tokens + self.drop_path(changed if self.gamma_2 is None else self.gamma_2 * changed)
