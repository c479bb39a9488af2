"""The convolutions that segmentation heads and pyramids are made of."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models import initialise


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU; spatial size unchanged."""

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_dim)
        self.relu = nn.ReLU()
        initialise.convolution(self.conv)


AS_PRODUCT = True  # of `Enlarging` in training on the CPU; False: torch's own


class Enlarging(nn.ConvTranspose2d):
    """Transposed convolution whose stride is its kernel: each position becomes a square of positions.

    That is one matrix product. For training on the CPU it is done so, channels last, which takes about two thirds of
    the time of the processor's transposed convolution; elsewhere it is torch's own.
    """

    def __init__(self, in_dim: int, out_dim: int, stride: int) -> None:
        super().__init__(in_dim, out_dim, stride, stride)

    def forward(self, maps: Float[Tensor, "b c h w"], output_size: list[int] | None = None) -> Float[Tensor, "b o _ _"]:
        on_cpu = AS_PRODUCT and maps.device.type == "cpu"
        if not on_cpu or not torch.is_grad_enabled() or self.bias is None or output_size is not None:
            return super().forward(maps, output_size)
        stride = self.stride[0]
        weight, bias = self.weight.permute(2, 3, 1, 0).flatten(0, 2), self.bias.repeat(stride * stride)
        squares = F.linear(maps.permute(0, 2, 3, 1), weight, bias).unflatten(3, (stride, stride, -1))
        enlarged = squares.transpose(2, 3).flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)
        return enlarged if maps.is_contiguous(memory_format=torch.channels_last) else enlarged.contiguous()


def classifier(in_dim: int, num_classes: int) -> nn.Conv2d:
    """The last 1x1 convolution of a head."""
    conv = nn.Conv2d(in_dim, num_classes, 1)
    initialise.classifier(conv)
    return conv
