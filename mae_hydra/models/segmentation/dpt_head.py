"""DPT's decode head (arXiv 2103.13413): four maps of a ViT, each brought to a size of its own, fused coarse to fine."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models.segmentation.convolution import ConvNormReLU, Enlarging, classifier


class DPTHead(nn.Module):
    """Four maps of one size and width `in_dim` (h, w) -> logits at (8h, 8w).

    `widths`: of the maps once they have the sizes 4h, 2h, h and h / 2. `channels`: of the fusion. Class tokens are left
    out ("ignore" in transformers' words). `dropout`: as of FCNHead.
    """

    num_maps = 4
    makes_sizes = True

    def __init__(self, *, in_dim: int, widths: Sequence[int], channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        if len(widths) != self.num_maps or min(widths) < 1:
            raise ValueError(f"widths must be four positive numbers, got {list(widths)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.in_dim, self.num_classes = in_dim, num_classes
        self.project = nn.ModuleList(nn.Conv2d(in_dim, width, 1) for width in widths)
        self.resize = nn.ModuleList(
            [
                Enlarging(widths[0], widths[0], 4),
                Enlarging(widths[1], widths[1], 2),
                nn.Identity(),
                nn.Conv2d(widths[3], widths[3], 3, stride=2, padding=1),
            ]
        )
        self.convs = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1, bias=False) for width in widths)
        self.lateral = nn.ModuleList(ResidualUnit(channels) for _ in widths[:3])  # nothing comes before the coarsest
        self.fuse = nn.ModuleList(ResidualUnit(channels) for _ in widths)
        self.out = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in widths)
        self.conv = ConvNormReLU(channels, channels, 3)
        self.dropout = nn.Dropout(dropout)
        self.classify = classifier(channels, num_classes)

    def forward(self, maps: list[Float[Tensor, "b d h w"]]) -> Float[Tensor, "b classes _ _"]:
        parts = zip(self.convs, self.resize, self.project, maps, strict=True)
        levels = [conv(resize(project(level))) for conv, resize, project, level in parts]
        fused: Tensor | None = None
        for index in (3, 2, 1, 0):
            level = levels[index]
            fused = level if fused is None else fused + self.lateral[index](level)
            height, width = levels[index - 1].shape[2:] if index else (2 * level.shape[2], 2 * level.shape[3])
            fused = self.fuse[index](fused)
            fused = F.interpolate(fused, size=(height, width), mode="bilinear", align_corners=True)
            fused = self.out[index](fused)
        return self.classify(self.dropout(self.conv(fused)))


class ResidualUnit(nn.Module):
    """x + two 3x3 convolutions, each after a ReLU and before a batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, maps: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        inner = self.norm1(self.conv1(F.relu(maps)))
        return maps + self.norm2(self.conv2(F.relu(inner)))
