"""The auxiliary head, used in training only."""

from jaxtyping import Float
from torch import Tensor, nn

from mae_hydra.models.segmentation.convolution import ConvNormReLU, classifier


class FCNHead(nn.Module):
    """One 3x3 Conv-BN-ReLU, channel dropout, 1x1 classifier: logits at the size of the map."""

    num_maps = 1

    def __init__(self, *, in_dim: int, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.in_dim, self.num_classes = in_dim, num_classes
        self.conv = ConvNormReLU(in_dim, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = classifier(channels, num_classes)

    def forward(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b classes h w"]:
        return self.classify(self.dropout(self.conv(features)))
