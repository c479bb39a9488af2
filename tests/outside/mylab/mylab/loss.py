"""A loss of class maps."""

import torch
from torch import Tensor
from torch.nn import functional

from mae_hydra.types import Loss


class Dice:
    """One minus the soft Dice score, averaged over the classes of each image: a `PixelLoss` of mae_hydra.types.

    A sum and a count, never a mean: the engine divides once, over micro-batches and devices together. So each image
    has a loss of its own here, and one without a labelled pixel counts for nothing.
    """

    def __init__(self, *, ignore_index: int) -> None:
        self.ignore_index = ignore_index

    def __call__(self, logits: Tensor, labels: Tensor) -> Loss:
        """Logits (B, C, h, w) at any size, labels int64 (B, H, W)."""
        logits = functional.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
        labelled = (labels != self.ignore_index)[:, None]
        shares = logits.softmax(1) * labelled
        known = torch.where(labelled[:, 0], labels, 0)
        truth = functional.one_hot(known, logits.shape[1]).movedim(3, 1) * labelled
        both, either = (shares * truth).sum((2, 3)), (shares + truth).sum((2, 3))
        occurs = truth.sum((2, 3)) > 0
        score = (2 * both / either.clamp(min=1e-6) * occurs).sum(1) / occurs.sum(1).clamp(min=1)
        counts = occurs.any(1)
        return Loss(((1 - score) * counts).sum(), counts.sum())
