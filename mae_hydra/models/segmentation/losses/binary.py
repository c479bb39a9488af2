"""Cross-entropy of two classes that are told apart by one number: the logit of the second."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from mae_hydra.models.segmentation.losses.enlarged import EnlargedLoss


class BinaryCrossEntropy(EnlargedLoss):
    """Sigmoid cross-entropy summed over labelled pixels; for sets of two classes, 0 and 1.

    The one logit is the second of the two minus the first; a head with `num_classes` 1 gives it alone, and then the
    model's first logit is always 0 (`two_logits`). `pos_weight`: what a pixel of class 1 counts.
    """

    adds_pixels = True

    def __init__(self, *, ignore_index: int, num_classes: int, pos_weight: float = 1.0) -> None:
        super().__init__(ignore_index=ignore_index)
        if num_classes != 2:
            raise ValueError(f"num_classes must be 2 for a binary loss, got {num_classes}; use loss=cross_entropy")
        if not pos_weight > 0:
            raise ValueError(f"pos_weight must be positive, got {pos_weight}")
        self.pos_weight = pos_weight

    def total(self, logits: Float[Tensor, "b 2 h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        # Of the two logits softmax gives what the sigmoid gives of their difference, and refuses a label above 1.
        weight = logits.new_tensor([1.0, self.pos_weight])
        return F.cross_entropy(logits, labels, weight=weight, ignore_index=self.ignore_index, reduction="sum")


def two_logits(logits: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
    """One logit is that of the second of two classes, whose first has logit 0; more are as they are."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
