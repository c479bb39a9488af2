"""Focal loss (arXiv 1708.02002)."""

import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from mae_hydra.models.segmentation.losses.enlarged import EnlargedLoss


class FocalLoss(EnlargedLoss):
    """Cross-entropy of which a pixel counts the less the surer it is right, summed over labelled pixels.

    - "softmax": (1 - p) ** gamma * -log p of the labelled class; `alpha` is a factor of all.
    - "sigmoid": each class against the rest, as in the paper and in mmsegmentation, summed over the classes
      (torchvision's); `alpha` is the weight of the labelled class, 1 - alpha that of each other.

    None for `alpha`: no weight.
    """

    adds_pixels = True

    def __init__(
        self, *, ignore_index: int, gamma: float = 2.0, alpha: float | None = None, form: str = "softmax"
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        if gamma < 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        if alpha is not None and not 0 < alpha < 1:
            raise ValueError(f"alpha must lie in (0, 1), or null for no weight, got {alpha}")
        if form not in ("softmax", "sigmoid"):
            raise ValueError(f"form must be softmax or sigmoid, got {form!r}")
        self.gamma, self.alpha, self.form = gamma, alpha, form

    def total(self, logits: Float[Tensor, "b classes h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        if self.form == "sigmoid":
            return self._one_against_rest(logits, labels)
        surprise = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none")
        # Not 0, where a power below 1 has no finite slope.
        wrong = (-(-surprise).expm1()).clamp(min=1e-20)
        total = (wrong**self.gamma * surprise).sum()
        return total if self.alpha is None else total * self.alpha

    def _one_against_rest(self, logits: Tensor, labels: Tensor) -> Tensor:
        counted = labels != self.ignore_index
        targets = F.one_hot(labels.where(counted, 0), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        alpha = -1.0 if self.alpha is None else self.alpha
        terms = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=self.gamma, reduction="none")
        return (terms * counted[:, None]).sum()
