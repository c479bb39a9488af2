"""A masked autoencoder as it is usually written with timm's parts: what our training step stands beside.

Every image is embedded whole and shuffled, every position is predicted, and the errors of visible ones are multiplied
by zero at the end. The same function of the same weights and noise as `models.MAE` with random masking.
"""

from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from mae_hydra.models import MAE
from mae_hydra.models.encoders.blocks import LayerNorm
from mae_hydra.models.patches import normalise_patches, patchify


class PlainMAE(nn.Module):
    """Build it with the sizes and the weights of `model`."""

    def __init__(self, model: MAE) -> None:
        super().__init__()
        encoder: Any = model.encoder
        decoder: Any = model.decoder
        self.patch, self.norm_pix, self.visible = encoder.patch_size, model.norm_pix, 1 - model.mask_ratio
        self.embed = PatchEmbed(encoder.image_size, encoder.patch_size, encoder.in_chans, encoder.embed_dim)
        self.cls, self.mask = _copied(encoder.cls_token), _copied(decoder.mask_token)
        self.positions, self.decoder_positions = _copied(encoder.pos_embed), _copied(decoder.pos_embed)
        self.blocks, self.decoder_blocks = _blocks(encoder), _blocks(decoder)
        self.norm, self.decoder_norm = LayerNorm(encoder.embed_dim), LayerNorm(decoder.embed.out_features)
        self.bridge = nn.Linear(encoder.embed_dim, decoder.embed.out_features)
        self.pixels = nn.Linear(decoder.embed.out_features, decoder.pred.out_features)
        pairs = [
            (self.embed, encoder.patch_embed),
            (self.blocks, encoder.blocks),
            (self.norm, encoder.norm),
            (self.bridge, decoder.embed),
            (self.decoder_blocks, decoder.blocks),
            (self.decoder_norm, decoder.norm),
            (self.pixels, decoder.pred),
        ]
        for own, theirs in pairs:
            own.load_state_dict(theirs.state_dict())

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """The mean error over hidden patches of normalised float images (B, C, H, W)."""
        first = self.cls.shape[1]  # patch
        tokens = self.embed(images) + self.positions[:, first:]
        batch, length, width = tokens.shape
        if noise is None:
            noise = torch.rand(batch, length, device=images.device)
        shuffled = noise.argsort(dim=1)
        restored = shuffled.argsort(dim=1)
        count = int(length * self.visible)
        tokens = tokens.gather(1, shuffled[:, :count, None].expand(-1, -1, width))
        tokens = torch.cat([(self.cls + self.positions[:, :first]).expand(batch, -1, -1), tokens], dim=1)
        tokens = self.bridge(self.norm(self.blocks(tokens)))
        filled = torch.cat([tokens[:, first:], self.mask.expand(batch, length - count, -1)], dim=1)
        filled = filled.gather(1, restored[:, :, None].expand(-1, -1, tokens.shape[2]))
        tokens = torch.cat([tokens[:, :first], filled], dim=1) + self.decoder_positions
        predicted = self.pixels(self.decoder_norm(self.decoder_blocks(tokens)))[:, first:]
        target = patchify(images, self.patch)
        target = normalise_patches(target) if self.norm_pix else target
        hidden = (restored >= count).to(predicted.dtype)
        return ((predicted - target).square().mean(2) * hidden).sum() / hidden.sum()


def _copied(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone(), parameter.requires_grad)


def _blocks(part: Any) -> nn.Sequential:
    first = part.blocks[0]
    width, heads, hidden = first.norm1.normalized_shape[0], first.attn.num_heads, first.mlp.fc1.out_features
    settings: Any = {"mlp_ratio": hidden / width, "qkv_bias": True, "norm_layer": LayerNorm}
    return nn.Sequential(*(Block(width, heads, **settings) for _ in part.blocks))
