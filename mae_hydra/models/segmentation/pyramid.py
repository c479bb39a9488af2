"""Maps of four sizes from a backbone that has only one."""

from jaxtyping import Float
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """Four maps of one size -> four of 4x, 2x, 1x and 1/2 that size, by transposed convolutions and a max-pool."""

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.up4 = nn.Sequential(
            nn.ConvTranspose2d(dim, dim, 2, 2), nn.BatchNorm2d(dim), nn.GELU(), nn.ConvTranspose2d(dim, dim, 2, 2)
        )
        self.up2 = nn.ConvTranspose2d(dim, dim, 2, 2)
        self.down2 = nn.MaxPool2d(2, 2)

    def forward(self, maps: list[Float[Tensor, "b d h w"]]) -> list[Float[Tensor, "b d _ _"]]:
        first, second, third, fourth = maps
        return [self.up4(first), self.up2(second), third, self.down2(fourth)]
