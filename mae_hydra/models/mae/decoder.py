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

    `num_cls_tokens`: of the encoder; their predictions are left out. `positions`, `init`: as of `VisionTransformer`.
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
        num_cls_tokens: int = 1,
        positions: str = "fixed",
        init: str | None = None,
    ) -> None:
        super().__init__()
        self.image_size, self.grid = grid_of(image_size, patch_size)
        if embed_dim % num_heads:
            raise ValueError(f"decoder embed_dim must be a multiple of num_heads {num_heads}, got {embed_dim}")
        if positions not in ("fixed", "learned"):
            raise ValueError(f"decoder positions must be 'fixed' or 'learned', got {positions!r}")
        initialise.check_choice(init)
        self.encoder_dim, self.patch_size, self.in_chans = encoder_dim, patch_size, in_chans
        self.num_cls_tokens = num_cls_tokens
        self.num_patches = self.grid[0] * self.grid[1]
        self.num_encoder_blocks = 1  # it reads the encoder's last tokens only
        self.embed = nn.Linear(encoder_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        table = sincos_positions(embed_dim, self.grid, num_cls_tokens=num_cls_tokens).to(torch.get_default_dtype())
        self.pos_embed = nn.Parameter(table, requires_grad=positions == "learned")
        self.blocks = nn.ModuleList(self.block(embed_dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = LayerNorm(embed_dim)
        set_norm_eps(self, norm_eps)
        self.pred = nn.Linear(embed_dim, patch_size * patch_size * in_chans)
        if init == "truncated_normal":
            initialise.truncated_normal(self)
            if positions == "learned":
                nn.init.trunc_normal_(self.pos_embed, std=initialise.TOKEN_STD)
        else:
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

        `latent` (B, C + K, D) is what the encoder made of cls and the patches `keep` (B, K), in that order.
        `pos_embed` (1, C + N, E): positions for images of another size than `image_size`, with N patches.
        """
        table = self.pos_embed if pos_embed is None else pos_embed
        visible, first = self.embed(latent), self.num_cls_tokens  # patch
        hidden = self.mask_token.to(visible.dtype).expand(len(latent), table.shape[1] - first, -1)
        index = keep[..., None].expand(-1, -1, visible.shape[2])
        tokens = torch.cat([visible[:, :first], hidden.scatter(1, index, visible[:, first:])], dim=1) + table
        for block in self.blocks:
            tokens = block(tokens)
        wanted = tokens[:, first:] if positions is None else take_tokens(tokens[:, first:], positions)
        return self.pred(self.norm(wanted))  # per token, so that leaving tokens out changes nothing

    def block(self, dim: int, num_heads: int, mlp_ratio: float) -> nn.Module:
        """One of the stack."""
        return plain_block(dim, num_heads, mlp_ratio)
