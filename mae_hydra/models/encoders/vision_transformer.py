"""The Vision Transformer that all models share: tokens for MAE, feature maps for segmentation.

Parameter names are those of the official MAE weights and of timm. B batch, N patches, K kept ones, D width, h w grid.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from timm.layers import PatchEmbed
from torch import Tensor, nn

from mae_hydra.models import initialise
from mae_hydra.models.encoders.blocks import NORM_EPS, LayerNorm, ScaledBlock, plain_block, set_norm_eps
from mae_hydra.models.patches import take_tokens, take_windows
from mae_hydra.models.positions import sincos_positions
from mae_hydra.relative_positions import relative_position_index


def grid_of(image_size: int | Sequence[int], patch_size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, W) in pixels and (h, w) in patches; ValueError where one is no multiple of the other."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else (int(side) for side in image_size)
    if patch_size < 1 or min(height, width) < 1 or height % patch_size or width % patch_size:
        raise ValueError(f"image_size must be a multiple of patch_size {patch_size}, got {height}x{width}")
    return (height, width), (height // patch_size, width // patch_size)


class VisionTransformer(nn.Module):
    """ViT with `num_cls_tokens` C cls tokens, one but for Pixio (arXiv 2512.15715), each with positions of its own.

    `positions`: "fixed" (2-D sine-cosine, frozen) or "learned" (same start, trainable); both live in the state dict.
    `init`: of the weights, "xavier" as MAE, "truncated_normal" as BEiT and transformers' Pixio, whose learned positions
    start so too; None: the one of this form's originals.
    `relative_position_bias` and `layer_scale` give the form of MAE's segmentation transfer (paper A.4); with tables at
    0 and gammas at 1 it equals the plain form. `out_indices`: blocks (from 0) whose output `feature_maps` returns.
    `norm_maps`: each of them behind the final norm, where there is one, as often where an encoder is frozen.
    `norm_eps`: of every LayerNorm; files of Hugging Face may tell another.
    """

    image_size: tuple[int, int]
    grid: tuple[int, int]
    num_patches: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    num_depths: int

    def __init__(
        self,
        *,
        image_size: int | Sequence[int],
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        out_indices: Sequence[int],
        drop_path_rate: float,
        positions: str,
        relative_position_bias: bool,
        layer_scale: float | None,
        final_norm: bool,
        norm_eps: float = NORM_EPS,
        num_cls_tokens: int = 1,
        norm_maps: bool = False,
        init: str | None = None,
    ) -> None:
        super().__init__()
        self.image_size, self.grid = grid_of(image_size, patch_size)
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim must be a multiple of num_heads {num_heads}, got {embed_dim}")
        if positions not in ("fixed", "learned"):
            raise ValueError(f"positions must be 'fixed' or 'learned', got {positions!r}")
        if num_cls_tokens < 1:
            raise ValueError(f"num_cls_tokens must be 1 or more, got {num_cls_tokens}")
        initialise.check_choice(init)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must lie in [0, 1), got {drop_path_rate}")
        if sorted(set(out_indices)) != list(out_indices) or not all(0 <= index < depth for index in out_indices):
            raise ValueError(f"out_indices must ascend within 0..{depth - 1}, got {list(out_indices)}")
        self.patch_size, self.in_chans, self.embed_dim, self.num_heads = patch_size, in_chans, embed_dim, num_heads
        self.num_patches, self.num_cls_tokens = self.grid[0] * self.grid[1], num_cls_tokens
        self.out_indices = tuple(out_indices)
        self.widths, self.strides = (embed_dim,) * len(self.out_indices), (patch_size,) * len(self.out_indices)
        self.num_depths = depth + 2

        self.patch_embed = PatchEmbed(self.image_size, patch_size, in_chans, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, num_cls_tokens, embed_dim))
        table = sincos_positions(embed_dim, self.grid, num_cls_tokens=num_cls_tokens).to(torch.get_default_dtype())
        self.pos_embed = nn.Parameter(table, requires_grad=positions == "learned")
        drops = (drop_path_rate * index / max(depth - 1, 1) if drop_path_rate else None for index in range(depth))
        bias_grid = self.grid if relative_position_bias else None
        if relative_position_bias or layer_scale is not None:
            self.blocks = nn.ModuleList(
                ScaledBlock(embed_dim, num_heads, mlp_ratio, drop, bias_grid, layer_scale) for drop in drops
            )
        else:
            self.blocks = nn.ModuleList(plain_block(embed_dim, num_heads, mlp_ratio, drop) for drop in drops)
        self.norm = LayerNorm(embed_dim) if final_norm else None
        self.norm_maps = norm_maps and final_norm
        self.norm_eps = norm_eps
        set_norm_eps(self, norm_eps)
        # One index for all blocks, and derived, so that it is in no state dict.
        index = relative_position_index(self.grid, num_cls_tokens) if relative_position_bias else None
        self.register_buffer("relative_position_index", index, persistent=False)
        self.relative_position_index: Tensor | None
        self._initialise(init)

    def _initialise(self, init: str | None) -> None:
        """MAE's start for the plain form; for the form with relative positions BEiT's Linears.

        In both, positions start as sine-cosine tables and cls tokens from a normal, as MAE's do, whatever the model:
        docs/fidelity.md says where programs that train a classifier or UPerNet from scratch start otherwise.
        """
        nn.init.normal_(self.cls_token, std=initialise.TOKEN_STD)
        relative = self.relative_position_index is not None
        if (init or ("truncated_normal" if relative else "xavier")) == "xavier":
            initialise.xavier(self)
            initialise.patch_projection(self.patch_embed.proj)
        else:
            initialise.truncated_normal(self)
        if relative:
            initialise.shrink_residual_branches(self.blocks)
        if init == "truncated_normal" and self.pos_embed.requires_grad:
            nn.init.trunc_normal_(self.pos_embed, std=initialise.TOKEN_STD)

    def tokens(
        self,
        images: Float[Tensor, "b c h w"],
        keep: Int64[Tensor, "b k"] | None = None,
        pos_embed: Float[Tensor, "1 tokens d"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """(B, C + K, D), cls first, after the final norm where there is one; without `keep` all patches.

        A patch that is not in `keep` is not even read. `pos_embed` (1, C + N, D): positions for images of another size
        than `image_size`, with N patches.
        """
        tokens = self._embed(images, keep, pos_embed)
        for block in self.blocks:
            tokens = self._apply_block(block, tokens, self.relative_position_index)
        return tokens if self.norm is None else self.norm(tokens)

    def block_tokens(
        self,
        images: Float[Tensor, "b c h w"],
        keep: Int64[Tensor, "b k"],
        pos_embed: Float[Tensor, "1 tokens d"] | None = None,
        *,
        count: int,
        embedded: bool = False,
    ) -> Float[Tensor, "e b n d"]:
        """(count, B, C + K, D): tokens after `count` of the blocks, spread evenly; the last are those of `tokens`.

        `embedded`: one more in front, the tokens before the first block, positions added.
        """
        depth = len(self.blocks)
        wanted = {depth * (index + 1) // count - 1 for index in range(count)}
        tokens = self._embed(images, keep, pos_embed)
        outputs = [tokens] if embedded else []
        for index, block in enumerate(self.blocks):
            tokens = self._apply_block(block, tokens, self.relative_position_index)
            if index in wanted:
                outputs.append(tokens)
        if self.norm is not None:
            outputs[-1] = self.norm(tokens)
        return torch.stack(outputs)

    def feature_maps(
        self, images: Float[Tensor, "b c h w"], biases: list[Float[Tensor, "heads n n"]] | None = None
    ) -> list[Float[Tensor, "b d gh gw"]]:
        """Maps (B, D, h, w) after the blocks `out_indices`, without cls, with `norm_maps` behind the final norm.

        `biases`: what `position_biases` gave, to spare working it out again.
        """
        tokens = self._embed(images, None)
        maps = []
        for index, block in enumerate(self.blocks):
            tokens = self._apply_block(block, tokens, self.relative_position_index if biases is None else biases[index])
            if index in self.out_indices:
                maps.append(self._map(tokens if self.norm is None or not self.norm_maps else self.norm(tokens)))
        return maps

    def final_map(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d gh gw"]:
        """One map (B, D, h, w): the patch tokens after the final norm, where there is one."""
        return self._map(self.tokens(images))

    def position_biases(self) -> list[Float[Tensor, "heads n n"]] | None:
        """The relative position bias of every block, spread out over all pairs (None: this encoder has none)."""
        if self.relative_position_index is None:
            return None
        attentions: list[Any] = [block.attn for block in self.blocks]
        return [attention.relative_position_bias(self.relative_position_index) for attention in attentions]

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        return self.tokens(images)

    def depth_of(self, name: str) -> int:
        """0 for the embedding, i + 1 for block i, depth + 1 for the rest; `name` is relative to the encoder."""
        first, _, rest = name.partition(".")
        if first in ("cls_token", "pos_embed", "patch_embed"):
            return 0
        if first == "blocks":
            return int(rest.partition(".")[0]) + 1
        return self.num_depths - 1

    def _map(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.num_cls_tokens :].transpose(1, 2).unflatten(2, self.grid)

    def _embed(self, images: Tensor, keep: Tensor | None, pos_embed: Tensor | None = None) -> Tensor:
        if pos_embed is None and images.shape[1:] != (self.in_chans, *self.image_size):
            # 1024x256 has as many tokens as 512x512
            expected = f"{self.in_chans} channels of {self.image_size[0]}x{self.image_size[1]} pixels"
            got = f"{images.shape[1]} channels of {images.shape[2]}x{images.shape[3]}"
            raise ValueError(f"the encoder takes images with {expected}, got {got}")
        table = self.pos_embed if pos_embed is None else pos_embed
        positions = table[:, self.num_cls_tokens :]
        if keep is None:
            patches = self.patch_embed(images) + positions
        else:
            if self.relative_position_index is not None:
                raise ValueError("an encoder with relative_position_bias sees whole images only: keep must be None")
            projection = self.patch_embed.proj
            windows = take_windows(images, self.patch_size, keep).flatten(2)
            patches = F.linear(windows, projection.weight.flatten(1), projection.bias)
            patches = patches + take_tokens(positions.expand(len(images), -1, -1), keep)
        # shape[0], not len(): it would fix the batch of an exported program
        cls = (self.cls_token + table[:, : self.num_cls_tokens]).expand(images.shape[0], -1, -1)
        return torch.cat([cls, patches], dim=1)

    @staticmethod
    def _apply_block(block: nn.Module, tokens: Tensor, positions: Tensor | None) -> Tensor:
        return block(tokens) if positions is None else block(tokens, positions)
