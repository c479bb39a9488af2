"""The segmentation head of a linear probe."""

from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models.segmentation.convolution import classifier


class LinearSegHead(nn.Module):
    """BatchNorm without scale and shift (eps 1e-6, as in MAE's linear probe), then one Linear for every patch."""

    num_maps = 1

    def __init__(self, *, in_dim: int, num_classes: int) -> None:
        super().__init__()
        self.in_dim, self.num_classes = in_dim, num_classes
        self.norm = nn.BatchNorm2d(in_dim, eps=1e-6, affine=False)
        self.classify = classifier(in_dim, num_classes)

    def forward(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b classes h w"]:
        return self.classify(self.norm(features))
