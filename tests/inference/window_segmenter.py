"""A small segmentation model of a fixed input size, whose answer depends on where in the window a pixel lies."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate


class WindowSegmenter(nn.Module):
    """Coarse logits, enlarged, plus a position term: like a ViT, it answers differently when the window moves."""

    def __init__(self, image_size: tuple[int, int], num_classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        height, width = image_size
        self.encoder = SimpleNamespace(image_size=image_size)
        self.mix = nn.Parameter(torch.randn(num_classes, 3, 3, 3, generator=generator))
        self.position = nn.Parameter(torch.randn(num_classes, height // 4, width // 4, generator=generator))
        self.mean, self.std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
        self.batches: list[int] = []

    def prepare(self, images: Tensor) -> Tensor:
        return (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, images: Tensor) -> Tensor:
        assert images.is_floating_point(), "inference hands over prepared images"
        if tuple(images.shape[-2:]) != self.encoder.image_size:
            raise ValueError(f"this model takes {self.encoder.image_size}, got {tuple(images.shape[-2:])}")
        self.batches.append(len(images))
        coarse = torch.conv2d(avg_pool2d(images, 4), self.mix, padding=1) + self.position
        return interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """uint8 (3, H, W): smooth blobs with noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, max(2, height // 9), max(2, width // 9), generator=generator)
    smooth = interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)[0]
    return (smooth * 235 + torch.rand(3, height, width, generator=generator) * 20).to(torch.uint8)
