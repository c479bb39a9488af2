"""Soft Dice of each image (V-Net, arXiv 1606.04797)."""

from jaxtyping import Float, Integer
from torch import Tensor

from mae_hydra.models.segmentation.losses.enlarged import EnlargedLoss


class DiceLoss(EnlargedLoss):
    """1 - (2 sum p g + smooth) / (sum p + sum g + smooth), the mean over the classes that an image's labels hold.

    p: softmax, g: 1 where the label is the class; sums over the labelled pixels of one image. The image counts as
    often as it has labelled pixels.
    """

    def __init__(self, *, ignore_index: int, smooth: float = 1.0) -> None:
        super().__init__(ignore_index=ignore_index)
        if smooth < 0:
            raise ValueError(f"smooth must not be negative, got {smooth}")
        self.smooth = smooth

    def total(self, logits: Float[Tensor, "b classes h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        counted = labels.flatten(1) != self.ignore_index
        classes = labels.flatten(1).where(counted, 0)[:, None]
        # What is ignored has probability 0 of every class.
        probability = logits.softmax(1).flatten(2) * counted[:, None]
        own = probability.gather(1, classes).squeeze(1)
        flat = classes.squeeze(1)
        both = probability.new_zeros(probability.shape[:2]).scatter_add(1, flat, own)
        pixels = probability.new_zeros(probability.shape[:2]).scatter_add(1, flat, counted.to(own.dtype))
        score = (2 * both + self.smooth) / (probability.sum(2) + pixels + self.smooth).clamp(min=1e-12)
        present = pixels > 0
        mean = ((1 - score) * present).sum(1) / present.sum(1).clamp(min=1)
        return (mean * counted.sum(1)).sum()
