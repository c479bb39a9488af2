"""DINOv3's ViT-S/16, of timm, as an encoder."""

import timm
import torch
from torch import Tensor, nn

DEPTHS_OF_ENDS = 2  # the embedding before the blocks, the norm behind them


class DINOv3(nn.Module):
    """An `Encoder` of mae_hydra.types, and with `tokens` and what it stands on a `MaskedEncoder`."""

    def __init__(
        self,
        *,
        image_size: int,
        in_chans: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        shape = {"patch_size": patch_size, "embed_dim": embed_dim, "depth": depth, "num_heads": num_heads}
        given = {"img_size": image_size, "in_chans": in_chans, "drop_path_rate": drop_path_rate, "num_classes": 0}
        self.model = timm.create_model("vit_small_patch16_dinov3", **shape, **given)
        self.image_size, self.patch_size = (image_size, image_size), patch_size
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.num_patches = self.grid[0] * self.grid[1]
        self.in_chans, self.embed_dim = in_chans, embed_dim
        self.read = [depth * (number + 1) // 4 - 1 for number in range(4)]  # the blocks whose maps heads get
        self.widths, self.strides = [embed_dim] * 4, [patch_size] * 4
        self.num_depths = depth + DEPTHS_OF_ENDS

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Four maps (B, D, h, w), each behind the norm."""
        return self.model.forward_intermediates(images, indices=self.read, norm=True, intermediates_only=True)

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, 1 + K, D): the cls token, then the patches `keep`, int64 (B, K). The registers are left out."""
        tokens, positions = self.model._pos_embed(self.model.patch_embed(images))
        first = self.model.num_prefix_tokens  # the cls token and the registers
        if keep is not None:
            seen = tokens[:, first:].take_along_dim(keep[..., None], 1)
            tokens, positions = torch.cat([tokens[:, :first], seen], 1), positions[keep][:, None]
        for block in self.model.blocks:
            tokens = block(tokens, rope=positions)
        tokens = self.model.norm(tokens)
        return torch.cat([tokens[:, :1], tokens[:, first:]], 1)

    def depth_of(self, name: str) -> int:
        """0: what comes before the blocks; then block by block; the norm behind them last."""
        part, *rest = name.removeprefix("model.").split(".")
        return int(rest[0]) + 1 if part == "blocks" else self.num_depths - 1 if part == "norm" else 0
