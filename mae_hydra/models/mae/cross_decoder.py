"""A decoder in which hidden positions look at visible tokens, and at nothing else (CrossMAE, arXiv 2401.14391).

Hidden positions do not see each other, so that any share of them may be predicted alone (`MAE.predicted_share`): at a
quarter of them its blocks cost about a fifth of the plain decoder's of equal depth. Each block may read its own
weighted sum of the encoder's blocks instead of the last one alone (the paper's inter-block attention). The published
model does that in another form, which is `CrossMAEDecoder`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int64
from timm.layers import Mlp
from torch import Tensor, nn

from mae_hydra.models.encoders.blocks import LayerNorm
from mae_hydra.models.encoders.plain_attention import attention
from mae_hydra.models.mae.decoder import MAEDecoder
from mae_hydra.models.patches import take_tokens


class CrossAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v, queries of one sequence, keys and values of another; all projections with bias.

    `seen_dim`: width of the other sequence.
    """

    def __init__(self, dim: int, num_heads: int, seen_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(seen_dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "b m d"], seen: Float[Tensor, "b n e"]) -> Float[Tensor, "b m d"]:
        q = self.q(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(seen).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    """x += attention(norm1(x), seen); x += mlp(norm2(x))."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, seen_dim: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = CrossAttention(dim, num_heads, seen_dim)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, tokens: Float[Tensor, "b m d"], seen: Float[Tensor, "b n e"]) -> Float[Tensor, "b m d"]:
        tokens = tokens + self.attn(self.norm1(tokens), seen)
        return tokens + self.mlp(self.norm2(tokens))


class CrossDecoder(MAEDecoder):
    """From the encoder's visible tokens to pixel predictions (B, M, P) at any positions, each by itself.

    `num_encoder_blocks` e: 1 reads the encoder's tokens as `MAEDecoder` does. With more, decoder block i reads
    norm_i(sum_j w_ij x_j), where x_j are the tokens behind the j-th of e blocks (`VisionTransformer.block_tokens`) and
    w_ij are learned from N(0, 1/e). The last x_j is behind the encoder's final norm, which would otherwise not be
    trained. ValueError where e < 1.
    """

    def __init__(
        self,
        *,
        encoder_dim: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        patch_size: int,
        in_chans: int,
        image_size: int | Sequence[int],
        num_encoder_blocks: int,
        num_cls_tokens: int = 1,
        positions: str = "fixed",
        init: str | None = None,
    ) -> None:
        super().__init__(
            encoder_dim=encoder_dim,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            patch_size=patch_size,
            in_chans=in_chans,
            image_size=image_size,
            num_cls_tokens=num_cls_tokens,
            positions=positions,
            init=init,
        )
        if num_encoder_blocks < 1:
            raise ValueError(f"num_encoder_blocks must be 1 or more, got {num_encoder_blocks}")
        self.num_encoder_blocks = num_encoder_blocks
        if num_encoder_blocks > 1:
            self.block_weights = nn.Parameter(torch.empty(depth, num_encoder_blocks))
            self.block_norms = nn.ModuleList(LayerNorm(encoder_dim) for _ in range(depth))
            nn.init.normal_(self.block_weights, std=num_encoder_blocks**-0.5)

    def forward(
        self,
        latent: Float[Tensor, "*e b kept_and_cls d"],
        keep: Int64[Tensor, "b k"],
        positions: Int64[Tensor, "b m"] | None = None,
        pos_embed: Float[Tensor, "1 tokens w"] | None = None,
    ) -> Float[Tensor, "b n p"]:
        """As of `MAEDecoder`; `latent` is (e, B, C + K, D) with more than one block of the encoder.

        Where visible tokens are, they know from the encoder: `keep` is not used.
        """
        table = (self.pos_embed if pos_embed is None else pos_embed)[:, self.num_cls_tokens :]
        table = table.expand(len(keep), -1, -1)
        tokens = self.mask_token + (table if positions is None else take_tokens(table, positions))
        for block, seen in zip(self.blocks, self._seen(latent), strict=True):
            tokens = block(tokens, seen)
        return self.pred(self.norm(tokens))

    def _seen(self, latent: Float[Tensor, "*e b n d"]) -> list[Float[Tensor, "b n w"]]:
        """What each block looks at."""
        if self.num_encoder_blocks == 1:
            return [self.embed(latent)] * len(self.blocks)
        sums = weighted_sums(self.block_weights, latent)
        return [self.embed(norm(each)) for norm, each in zip(self.block_norms, sums, strict=True)]

    def block(self, dim: int, num_heads: int, mlp_ratio: float) -> nn.Module:
        return CrossBlock(dim, num_heads, mlp_ratio, dim)


def weighted_sums(weights: Float[Tensor, "i e"], latent: Float[Tensor, "e b n d"]) -> Float[Tensor, "i b n d"]:
    """A sum of the maps for every row of `weights`; in their own precision, for they are a large residual stream."""
    with _without_autocast(latent.device.type):
        return torch.einsum("ie,ebnd->ibnd", weights.to(latent.dtype), latent)


def _without_autocast(device_type: str) -> AbstractContextManager[None]:
    """Of the meta device, which has none, as well."""
    available = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if available else nullcontext()
