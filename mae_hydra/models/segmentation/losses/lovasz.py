"""Lovász-Softmax (arXiv 1705.08790): a convex stand-in for 1 - IoU, worked out for each image."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from mae_hydra.models.segmentation.losses.enlarged import EnlargedLoss


class LovaszSoftmaxLoss(EnlargedLoss):
    """The Lovász extension of the Jaccard loss of the classes that an image's labels hold, their mean.

    The image counts as often as it has labelled pixels. The host waits for the device once, to learn which classes
    there are: to sort the errors of all classes would take many times as long.
    """

    def total(self, logits: Float[Tensor, "b classes h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        labels = labels.flatten(1)
        counted = labels != self.ignore_index
        pixels = torch.zeros(logits.shape[:2], dtype=torch.long, device=labels.device)
        pixels.scatter_add_(1, labels.where(counted, 0), counted.long())
        image, label = (pixels > 0).nonzero().unbind(1)
        probability = logits.softmax(1).flatten(2)[image, label]
        wanted = (labels[image] == label[:, None]) & counted[image]
        # An error of 0 stands last in the order and counts for nothing: what is ignored changes no other pixel.
        errors = (wanted.to(probability.dtype) - probability).abs() * counted[image]
        errors, order = errors.sort(dim=1, descending=True, stable=True)
        per_class = (errors * jaccard_slopes(wanted.gather(1, order), errors.dtype)).sum(1)
        share = counted.sum(1) / (pixels > 0).sum(1).clamp(min=1)
        return (per_class * share[image]).sum()


def jaccard_slopes(wanted: Bool[Tensor, "n pixels"], dtype: torch.dtype) -> Float[Tensor, "n pixels"]:
    """How much the Jaccard loss grows with each wrong pixel besides those before it, the largest error first."""
    right = wanted.to(dtype).cumsum(1)
    total, others = right[:, -1:], (~wanted).to(dtype).cumsum(1)
    loss = 1 - (total - right) / (total + others)
    return loss.diff(dim=1, prepend=torch.zeros_like(total))
