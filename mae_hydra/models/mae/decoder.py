"""MAE's light decoder: the only place where mask tokens exist (paper section 3)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mae_hydra.models import initialise
from mae_hydra.models.encoders.blocks import NORM_EPS, LayerNorm, plain_block, set_norm_eps
from mae_hydra.models.encoders.vision_transformer import grid_of
from mae_hydra.models.patches import take_tokens
from mae_hydra.models.positions import sincos_positions


class MAEDecoder(nn.Module):
    """From the encoder's visible tokens to pixel predictions (B, M, P) at any positions.

    `num_encoder_blocks`: of how many of the encoder's blocks it reads the tokens. `reads_embedding`: also those before
    the first block. `reads_normed`: the last ones behind the encoder's final norm.
    """

    reads_embedding, reads_normed = False, True

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
        norm_eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.image_size, self.grid = grid_of(image_size, patch_size)
        if embed_dim % num_heads:
            raise ValueError(f"decoder embed_dim must be a multiple of num_heads {num_heads}, got {embed_dim}")
        self.encoder_dim, self.patch_size, self.in_chans = encoder_dim, patch_size, in_chans
        self.num_patches = self.grid[0] * self.grid[1]
        self.num_encoder_blocks = 1  # it reads the encoder's last tokens only
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        table = sincos_positions(embed_dim, self.grid).to(torch.get_default_dtype())
        self.pos_embed = nn.Parameter(table, requires_grad=False)
        self.blocks = nn.ModuleList(self.block(embed_dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = LayerNorm(embed_dim)
        set_norm_eps(self, norm_eps)
        self.pred = nn.Linear(embed_dim, patch_size * patch_size * in_chans)
        initialise.xavier(self)
        nn.init.normal_(self.mask_token, std=initialise.TOKEN_STD)

    def forward(
        self,
        latent: Float[Tensor, "b kept_and_cls d"],
        keep: Int64[Tensor, "b k"],
        positions: Int64[Tensor, "b m"] | None = None,
        pos_embed: Float[Tensor, "1 tokens e"] | None = None,
    ) -> Float[Tensor, "b n p"]:
        """Predictions (B, M, P) at `positions`, or (B, N, P) for all patches in image order.

        `latent` (B, 1 + K, D) is what the encoder made of cls and the patches `keep` (B, K), in that order.
        `pos_embed` (1, 1 + N, E): positions for images of another size than `image_size`, with N patches.
        """
        table = self.pos_embed if pos_embed is None else pos_embed
        visible = self.embed(latent)
        hidden = self.mask_token.to(visible.dtype).expand(len(latent), table.shape[1] - 1, -1)
        index = keep[..., None].expand(-1, -1, visible.shape[2])
        tokens = torch.cat([visible[:, :1], hidden.scatter(1, index, visible[:, 1:])], dim=1) + table
        for block in self.blocks:
            tokens = block(tokens)
        wanted = tokens[:, 1:] if positions is None else take_tokens(tokens[:, 1:], positions)
        return self.pred(self.norm(wanted))  # per token, so that leaving tokens out changes nothing

    def block(self, dim: int, num_heads: int, mlp_ratio: float) -> nn.Module:
        """One of the stack."""
        return plain_block(dim, num_heads, mlp_ratio)
