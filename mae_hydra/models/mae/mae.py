"""Masked autoencoder (arXiv 2111.06377): encode what is visible, predict the pixels of what is hidden."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt
from torch import Tensor, nn

from mae_hydra.models.encoders.contract import check_encoder
from mae_hydra.models.encoders.vision_transformer import grid_of
from mae_hydra.models.mae import masking as strategies
from mae_hydra.models.mae.decoder import MAEDecoder
from mae_hydra.models.patches import normalise_patches, patchify, take_patches
from mae_hydra.models.pixels import channel_statistics, normalise
from mae_hydra.models.positions import sincos_positions
from mae_hydra.types import Batch, Loss, MaskedEncoder

UNSAID = object()  # of an encoder that says nothing of a norm


class MAEOutput(NamedTuple):
    """`prediction` (B, N, P) of every patch in image order, in units of the target; `keep` (B, K); `hidden` (B, N)."""

    prediction: Float[Tensor, "b n p"]
    keep: Int64[Tensor, "b k"]
    hidden: Bool[Tensor, "b n"]


class MAE(nn.Module):
    """What is visible follows from `keep` (B, K), else from `noise` (B, N; the smallest are kept), else from `masking`.

    `masking`: "random", "block" or "grid"; with `mask_block` b > 1 it draws squares of b x b patches, which are
    seen or hidden together (Pixio). `norm_pix`: predict each patch normalised by its own mean and deviation.
    `predicted_share`: of the hidden patches, drawn anew for every image in training; only they enter the loss (it
    spares work where the decoder does not need the others, see `CrossDecoder`).
    `smaller`: sizes in pixels, besides the encoder's `image_size`, of images that `loss` takes (progressive training).
    `mean`, `std`: per channel, in units of the 0..1 range: uint8 images are normalised with them, others not.
    """

    answers = "reconstruction"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        encoder: MaskedEncoder,
        decoder: MAEDecoder,
        mask_ratio: float,
        masking: str,
        norm_pix: bool,
        mean: Sequence[float],
        std: Sequence[float],
        predicted_share: float = 1.0,
        smaller: Sequence[int | Sequence[int]] = (),
        mask_block: int = 1,
    ) -> None:
        super().__init__()
        if not 0 < mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie in (0, 1), got {mask_ratio}")
        if masking not in strategies.STRATEGIES:
            raise ValueError(f"masking must be one of {sorted(strategies.STRATEGIES)}, got {masking!r}")
        check_encoder(encoder, masked=True)
        strategies.check_visible(encoder.grid, mask_ratio, mask_block)
        if not 0 < predicted_share <= 1:
            raise ValueError(f"predicted_share must lie in (0, 1], got {predicted_share}")
        _check_fit(encoder, decoder)
        self.encoder, self.decoder = encoder, decoder
        self.mask_ratio, self.masking, self.mask_block, self.norm_pix = mask_ratio, masking, mask_block, norm_pix
        self.predicted_share, self.num_depths = predicted_share, encoder.num_depths
        for name, values in zip(("mean", "std"), channel_statistics(mean, std, encoder.in_chans), strict=True):
            self.register_buffer(name, values, persistent=False)
        self._grids: dict[str, strategies.Grid] = {}
        for size in smaller:
            self._accept(size)

    def prepare(self, images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised images, on the device."""
        return normalise(images, self.mean, self.std)

    def target(self, patches: Float[Tensor, "b n p"]) -> Float[Tensor, "b n p"]:
        """What the prediction is compared with, from normalised pixels; float32 or better whatever autocast says."""
        return normalise_patches(patches) if self.norm_pix else patches.to(_at_least_float32(patches))

    def forward(
        self,
        images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"],
        noise: Float[Tensor, "b n"] | None = None,
        keep: Int64[Tensor, "b k"] | None = None,
    ) -> MAEOutput:
        """Predictions for all patches, hidden or not."""
        images = self.prepare(images)
        keep = self._choose(images, noise, keep, self.encoder.grid)
        prediction = self.decoder(self._encode(images, keep), keep)
        return MAEOutput(prediction, keep, strategies.hidden_from_keep(keep, self.encoder.num_patches))

    def loss(
        self,
        batch: Batch,
        noise: Float[Tensor, "b n"] | None = None,
        keep: Int64[Tensor, "b k"] | None = None,
    ) -> Loss:
        """Sum over the predicted hidden patches of the mean squared error within a patch; no others are predicted."""
        images = self.prepare(batch.images)
        grid, *tables = self._positions(images)
        keep = self._choose(images, noise, keep, grid)
        num_patches = grid[0] * grid[1]
        num_hidden = num_patches - keep.shape[1]
        hidden = strategies.hidden_from_keep(keep, num_patches)
        positions = strategies.hidden_positions(hidden, num_hidden)
        if self.training and self.predicted_share < 1:
            positions = strategies.some_of(positions, max(round(num_hidden * self.predicted_share), 1))
        prediction = self.decoder(self._encode(images, keep, tables[0]), keep, positions, tables[1])
        target = self.target(take_patches(images, self.encoder.patch_size, positions))
        errors = (prediction.to(target.dtype) - target).square().mean(2)
        return Loss(errors.sum(), torch.full((), errors.numel(), device=images.device))

    def patches(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n p"]:
        """All patches of normalised images, in the order of the prediction."""
        return patchify(images, self.encoder.patch_size)

    def depth_of(self, name: str) -> int:
        if name.startswith("encoder."):
            return self.encoder.depth_of(name.removeprefix("encoder."))
        return self.num_depths - 1

    def _encode(
        self,
        images: Float[Tensor, "b c h w"],
        keep: Int64[Tensor, "b k"],
        pos_embed: Float[Tensor, "1 tokens d"] | None = None,
    ) -> Float[Tensor, "*e b kept_and_cls d"]:
        """What the decoder reads, of one block or of several."""
        count, embedded = self.decoder.num_encoder_blocks, self.decoder.reads_embedding
        offered: Any = self.encoder
        if count > 1 or embedded:
            return offered.block_tokens(images, keep, pos_embed, count=count, embedded=embedded)
        if pos_embed is None:  # which only an encoder of several sizes takes
            return self.encoder.tokens(images, keep)
        return offered.tokens(images, keep, pos_embed)

    def _accept(self, size: int | Sequence[int]) -> None:
        pixels, grid = grid_of(size, self.encoder.patch_size)
        tables = [getattr(part, "pos_embed", None) for part in (self.encoder, self.decoder)]
        if any(table is None or table.requires_grad for table in tables):
            wanted = "backbone.positions=fixed head.positions=fixed"
            raise ValueError(f"images of several sizes need fixed positions ({wanted})")
        if any(mine > whole for mine, whole in zip(pixels, self.encoder.image_size, strict=True)):
            whole = "x".join(map(str, self.encoder.image_size))
            raise ValueError(f"smaller images must fit into image_size {whole}, got {pixels[0]}x{pixels[1]}")
        strategies.check_visible(grid, self.mask_ratio, self.mask_block)
        name = _name(pixels)
        self._grids[name] = grid
        parts: list[tuple[str, Any]] = [("encoder", self.encoder), ("decoder", self.decoder)]
        for kind, part in parts:
            table = sincos_positions(part.pos_embed.shape[2], grid, part.grid, self.decoder.num_cls_tokens)
            table = table.to(part.pos_embed.dtype)
            # Derived, so that it is in no state dict.
            self.register_buffer(f"{kind}_positions_{name}", table, persistent=False)

    def _positions(self, images: Tensor) -> tuple[strategies.Grid, Tensor | None, Tensor | None]:
        """The grid of `images` and the encoder's and the decoder's positions there; None: their own."""
        name = _name(images.shape[2:])
        if name not in self._grids:
            return self.encoder.grid, None, None
        parts: list[tuple[str, Any]] = [("encoder", self.encoder), ("decoder", self.decoder)]
        encoder, decoder = (
            self.get_buffer(f"{kind}_positions_{name}").to(part.pos_embed.dtype) for kind, part in parts
        )
        return self._grids[name], encoder, decoder

    def _choose(self, images: Tensor, noise: Tensor | None, keep: Tensor | None, grid: strategies.Grid) -> Tensor:
        num_patches = grid[0] * grid[1]
        if keep is not None:
            _check_keep(keep, len(images), num_patches)
            return keep
        side = self.mask_block
        blocks = grid[0] // side, grid[1] // side
        if noise is None:
            noise = strategies.STRATEGIES[self.masking](len(images), blocks, images.device)
        elif noise.shape not in {(len(images), num_patches), (len(images), blocks[0] * blocks[1])}:
            hint = " or one number for each block" if side > 1 else ""
            raise ValueError(f"noise must have shape {(len(images), num_patches)}{hint}, got {tuple(noise.shape)}")
        count = strategies.num_keep(blocks[0] * blocks[1], self.mask_ratio)
        if noise.shape[1] == num_patches:  # of patches, which whoever gives it may draw as they like
            return strategies.keep_from_noise(noise, count * side * side)
        return strategies.patches_of(strategies.keep_from_noise(noise, count), blocks, side)


def _name(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _check_fit(encoder: Any, decoder: MAEDecoder) -> None:
    norm = getattr(encoder, "norm", UNSAID)
    if not decoder.reads_normed and norm not in (None, UNSAID):
        name = type(decoder).__name__
        raise ValueError(f"{name} reads the encoder before any norm, which would not be trained: final_norm=false")
    if decoder.reads_normed and norm is None:
        raise ValueError("MAE needs a plain backbone, one without _relative in its name (final_norm=true)")
    if getattr(encoder, "relative_position_index", None) is not None:
        raise ValueError("MAE needs a plain backbone (relative_position_bias=false): the bias is for whole images only")
    pairs = {
        "encoder_dim": (decoder.encoder_dim, encoder.embed_dim),
        "patch_size": (decoder.patch_size, encoder.patch_size),
        "in_chans": (decoder.in_chans, encoder.in_chans),
        "image_size": (decoder.image_size, encoder.image_size),
        "num_cls_tokens": (decoder.num_cls_tokens, getattr(encoder, "num_cls_tokens", 1)),
    }
    for name, (got, expected) in pairs.items():
        if got != expected:
            raise ValueError(f"the decoder's {name} must be {expected} to fit the encoder, got {got}")
    if decoder.num_encoder_blocks > 1 and not hasattr(encoder, "block_tokens"):
        raise ValueError(f"{type(decoder).__name__} reads several blocks, which {type(encoder).__name__} does not give")
    if decoder.num_encoder_blocks > (most := encoder.num_depths - 2):
        raise ValueError(f"num_encoder_blocks must be at most {most}, the encoder's, got {decoder.num_encoder_blocks}")


def _check_keep(keep: Tensor, batch: int, num_patches: int) -> None:
    """Given positions come from a person or a data loader, not from a training step: waiting for the device is fine."""
    if keep.dtype != torch.int64 or keep.ndim != 2 or len(keep) != batch or not 0 < keep.shape[1] < num_patches:
        wanted = f"int64 ({batch}, K) with 0 < K < {num_patches}"
        raise ValueError(f"keep must be {wanted}, got {keep.dtype} {tuple(keep.shape)}")
    ordered = keep.sort(1).values
    if ordered[:, 0].min() < 0 or ordered[:, -1].max() >= num_patches or (ordered.diff(dim=1) == 0).any():
        raise ValueError(f"keep must name each patch at most once, from 0 to {num_patches - 1}")


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
