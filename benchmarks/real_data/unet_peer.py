"""The peer of docs/real-data.md: segmentation_models_pytorch's U-Net, trained by this program as a model of your own.

`pip install segmentation-models-pytorch` (0.6.0 was used). Same crops, schedule, batches and evaluation as UPerNet.
"""

from collections.abc import Sequence

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from mae_hydra.types import Batch, Loss


class UNet(nn.Module):
    """A U-Net with an encoder of that package, from scratch; sides of pictures are multiples of 32."""

    answers = "pixels"
    mean: Tensor
    std: Tensor

    def __init__(
        self, *, encoder: str, num_classes: int, ignore_index: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.network = smp.Unet(encoder, encoder_weights=None, in_channels=len(mean), classes=num_classes)
        self.num_classes, self.ignore_index, self.num_depths = num_classes, ignore_index, 1
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes, H, W) of pictures (B, C, H, W), uint8 or normalized."""
        return self.network(self.prepare(images))

    def prepare(self, images: Tensor) -> Tensor:
        """Normalized pictures."""
        return images if images.is_floating_point() else (images / 255 - self.mean) / self.std

    def loss(self, batch: Batch) -> Loss:
        """Sum of the cross-entropy over labelled pixels."""
        assert batch.labels is not None
        labels = batch.labels.long()
        settings = {"ignore_index": self.ignore_index, "reduction": "sum"}
        return Loss(
            functional.cross_entropy(self(batch.images), labels, **settings), (labels != self.ignore_index).sum()
        )

    def depth_of(self, name: str) -> int:
        """One depth: layer decay has nothing to go by."""
        return 0
