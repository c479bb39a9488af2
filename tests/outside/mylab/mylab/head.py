"""A head of dense prediction."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class MixedMaps(nn.Module):
    """All maps beside each other, mixed by two 1x1 convolutions: a `Head` of mae_hydra.types.

    `in_dim`: the widths of the maps, one number where all are equal; compared with the encoder's before training.
    """

    num_maps = 4

    def __init__(self, *, in_dim: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_dim, self.num_classes = in_dim, num_classes
        self.mix = nn.Conv2d(self.num_maps * in_dim, channels, 1)
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps (B, D, h, w), fine to coarse -> logits (B, C, h, w), which the model enlarges."""
        size = maps[0].shape[2:]
        same_size = [maps[0], *(functional.interpolate(each, size, mode="bilinear") for each in maps[1:])]
        return self.classify(functional.gelu(self.mix(torch.cat(same_size, 1))))
