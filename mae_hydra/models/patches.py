"""Images as rows of patches, back again, and the per-patch normalisation of the reconstruction target.

A patch is flattened pixel by pixel with the channel last: value (row, column, channel) of a patch of side p and C
channels stands at (row * p + column) * C + channel. Patches are counted row by row. B batch, N patches, P = p * p * C.
"""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

EPS = 1e-6


def patchify(images: Shaped[Tensor, "b c h w"], patch_size: int) -> Shaped[Tensor, "b n p"]:
    """All patches of (B, C, H, W) images as (B, N, P)."""
    return _windows(images, patch_size).permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(1, 2)


def unpatchify(patches: Shaped[Tensor, "b n p"], patch_size: int, grid: tuple[int, int]) -> Shaped[Tensor, "b c h w"]:
    """The images (B, C, H, W) whose patches were given; the inverse of `patchify`."""
    (height, width), p = grid, patch_size
    windows = patches.unflatten(2, (p, p, -1)).unflatten(1, (height, width))
    return windows.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def take_windows(
    images: Shaped[Tensor, "b c h w"], patch_size: int, positions: Int64[Tensor, "b k"]
) -> Shaped[Tensor, "b k c p p"]:
    """Only the patches at `positions`, as small images (B, K, C, p, p): the pixels of the others are never read."""
    windows = _windows(images, patch_size)
    columns = windows.shape[2]
    samples = torch.arange(len(images), device=images.device)[:, None]
    return windows[samples, positions // columns, positions % columns]


def take_patches(
    images: Shaped[Tensor, "b c h w"], patch_size: int, positions: Int64[Tensor, "b k"]
) -> Shaped[Tensor, "b k p"]:
    """Like `take_windows`, flattened in the order of `patchify`: (B, K, P)."""
    return take_windows(images, patch_size, positions).permute(0, 1, 3, 4, 2).flatten(2)


def take_tokens(tokens: Shaped[Tensor, "b n d"], positions: Int64[Tensor, "b k"]) -> Shaped[Tensor, "b k d"]:
    """Rows of each sample's token sequence, (B, N, D) -> (B, K, D)."""
    return tokens.gather(1, positions[..., None].expand(-1, -1, tokens.shape[2]))


def patch_statistics(
    patches: Float[Tensor, "b n p"],
) -> tuple[Float[Tensor, "b n 1"], Float[Tensor, "b n 1"]]:
    """Mean and standard deviation of each patch over all its values: unbiased variance, 1e-6 added under the root."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True, correction=1)
    return mean, (variance + EPS).sqrt()


def normalise_patches(patches: Float[Tensor, "b n p"]) -> Float[Tensor, "b n p"]:
    """The target of MAE with `norm_pix` (paper section 4.1, "reconstruction target"); computed in float32 or better."""
    patches = patches.to(torch.promote_types(patches.dtype, torch.float32))
    mean, std = patch_statistics(patches)
    return (patches - mean) / std


def _windows(images: Shaped[Tensor, "b c h w"], patch_size: int) -> Shaped[Tensor, "b rows columns c p p"]:
    """A view of the images as a grid of small images."""
    return images.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size)).permute(0, 2, 4, 1, 3, 5)
