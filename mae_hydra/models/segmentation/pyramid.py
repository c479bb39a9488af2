"""Maps of four sizes from a backbone that has only one."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models.segmentation.convolution import Enlarging


class FeaturePyramid(nn.Module):
    """Four maps of one size -> four of 4x, 2x, 1x and 1/2 that size, by transposed convolutions and a max-pool.

    `dim`: their width. Several widths are those of a backbone that has stages, whose maps are a pyramid already: they
    are passed on as they are.
    """

    def __init__(self, *, dim: int | Sequence[int]) -> None:
        super().__init__()
        widths = {dim} if isinstance(dim, int) else set(dim)
        self.dim = dim if isinstance(dim, int) else (tuple(dim) if len(widths) > 1 else dim[0])
        self.enlarges = isinstance(self.dim, int)
        if isinstance(self.dim, int):
            inner = self.dim
            self.up4 = nn.Sequential(
                Enlarging(inner, inner, 2),
                nn.BatchNorm2d(inner),
                nn.GELU(),
                Enlarging(inner, inner, 2),
            )
            self.up2 = Enlarging(inner, inner, 2)
            self.down2 = nn.MaxPool2d(2, 2)

    def forward(self, maps: list[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b _ _ _"]]:
        if not self.enlarges:
            return maps
        first, second, third, fourth = maps
        return [self.up4(first), self.up2(second), third, self.down2(fourth)]
