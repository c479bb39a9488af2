"""CrossMAE's own decoder (arXiv 2401.14391): every block reads its own weighted sum of all maps of the encoder.

Written from a description: which maps, which projections, which norms. With ViT-B and 12 blocks the whole model has the
127,286,428 parameters of the published one.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models.encoders.blocks import LayerNorm
from mae_hydra.models.mae.cross_decoder import CrossBlock, CrossDecoder, weighted_sums


class CrossMAEDecoder(CrossDecoder):
    """Decoder block i looks at norm_i(sum_j w_ij x_j) through a key and value projection of its own, from full width.

    x_0 are the encoder's tokens after the position embedding, x_1 … x_e those behind e of its blocks, spread evenly,
    none of them normalised: the encoder has no final norm. w_ij are learned from N(0, 1 / (e + 1)). ValueError where
    `num_encoder_blocks` e < 1.
    """

    reads_embedding, reads_normed = True, False

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
            num_encoder_blocks=1,  # of the form without maps
            num_cls_tokens=num_cls_tokens,
            positions=positions,
            init=init,
        )
        if num_encoder_blocks < 1:
            raise ValueError(f"num_encoder_blocks must be 1 or more, got {num_encoder_blocks}")
        del self.embed  # each block has a projection of its own
        self.num_encoder_blocks = num_encoder_blocks
        self.block_weights = nn.Parameter(torch.empty(depth, num_encoder_blocks + 1))
        self.block_norms = nn.ModuleList(LayerNorm(encoder_dim) for _ in range(depth))
        nn.init.normal_(self.block_weights, std=(num_encoder_blocks + 1) ** -0.5)

    def _seen(self, latent: Float[Tensor, "e b n d"]) -> list[Float[Tensor, "b n d"]]:
        sums = weighted_sums(self.block_weights, latent)
        return [norm(weighted) for norm, weighted in zip(self.block_norms, sums, strict=True)]

    def block(self, dim: int, num_heads: int, mlp_ratio: float) -> nn.Module:
        return CrossBlock(dim, num_heads, mlp_ratio, self.encoder_dim)
