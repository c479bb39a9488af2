"""The one convolution that both segmentation heads are made of."""

from torch import nn

from mae_hydra.models import initialise


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU; spatial size unchanged."""

    def __init__(self, in_dim: int, out_dim: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_dim)
        self.relu = nn.ReLU()
        initialise.convolution(self.conv)


def classifier(in_dim: int, num_classes: int) -> nn.Conv2d:
    """The last 1x1 convolution of a head."""
    conv = nn.Conv2d(in_dim, num_classes, 1)
    initialise.classifier(conv)
    return conv
