"""UPerNet's decode head (arXiv 1807.10221): pyramid pooling on the coarsest map, top-down lateral sums, one fusion."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models.segmentation.convolution import ConvNormReLU, classifier
from mae_hydra.models.segmentation.resized_convolution import convolve_resized


def resize(maps: Float[Tensor, "b d _ _"], size: tuple[int, int] | torch.Size) -> Float[Tensor, "b d _ _"]:
    """Bilinear, corners not aligned: the one interpolation of the model."""
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


class UPerHead(nn.Module):
    """Four maps of width `in_dim` (one number, or one for each), fine to coarse -> logits at the finest size.

    Each map has half the size of the one before. `dropout` drops whole channels before the classifier.
    `low_resolution_first`: 3x3 convolutions of enlarged maps run before the enlarging (the same numbers and gradients,
    see `resized_convolution`).
    """

    num_maps = 4
    needs_pyramid = True

    def __init__(
        self,
        *,
        in_dim: int | Sequence[int],
        channels: int,
        num_classes: int,
        pool_scales: Sequence[int],
        dropout: float,
        low_resolution_first: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1 (the second of two classes), got {num_classes}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        if not pool_scales or min(pool_scales) < 1:
            raise ValueError(f"pool_scales must be positive sizes, got {list(pool_scales)}")
        widths = [in_dim] * 4 if isinstance(in_dim, int) else list(in_dim)
        if len(widths) != self.num_maps:
            raise ValueError(f"in_dim must be one width or {self.num_maps}, got {widths}")
        self.in_dim: int | tuple[int, ...] = in_dim if isinstance(in_dim, int) else tuple(widths)
        self.num_classes, self.low_resolution_first = num_classes, low_resolution_first
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvNormReLU(widths[3], channels, 1)) for scale in pool_scales
        )
        self.bottleneck = ConvNormReLU(widths[3] + len(pool_scales) * channels, channels, 3)
        self.laterals = nn.ModuleList(ConvNormReLU(width, channels, 1) for width in widths[:3])
        self.smooths = nn.ModuleList(ConvNormReLU(channels, channels, 3) for _ in range(3))
        self.fuse = ConvNormReLU(4 * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = classifier(channels, num_classes)

    def forward(self, maps: list[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b classes _ _"]:
        coarse = self.pyramid_pooling(maps[3])
        levels = [lateral(level) for lateral, level in zip(self.laterals, maps[:3], strict=True)]
        above = coarse
        for index in (2, 1, 0):  # each level takes the finished sum of the one above
            levels[index] = levels[index] + resize(above, levels[index].shape[2:])
            above = levels[index]
        levels = [smooth(level) for smooth, level in zip(self.smooths, levels, strict=True)]
        return self.classify(self.dropout(self._resized(self.fuse, [*levels, coarse])))

    def pyramid_pooling(self, coarsest: Float[Tensor, "b d h w"]) -> Float[Tensor, "b channels h w"]:
        return self._resized(self.bottleneck, [coarsest, *(pool(coarsest) for pool in self.pools)])

    def _resized(self, block: ConvNormReLU, maps: list[Tensor]) -> Tensor:
        """`block` of all maps at the size of the first."""
        if self.low_resolution_first:
            return block.relu(block.norm(convolve_resized(block.conv.weight, maps)))
        size = maps[0].shape[2:]
        return block(torch.cat([maps[0], *(resize(level, size) for level in maps[1:])], dim=1))
