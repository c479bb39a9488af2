"""Cross-entropy of the hardest pixels (online hard example mining, arXiv 1604.03540)."""

import math

import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from mae_hydra.models.segmentation.losses.enlarged import EnlargedLoss


class OhemCrossEntropy(EnlargedLoss):
    """The mean cross-entropy of each image's hardest pixels.

    Those are the labelled pixels whose labelled class has a probability below `thresh`, and at least `min_kept` of them
    (a share of the image's labelled pixels, in (0, 1]); `thresh` None: just these. The image counts as often as it
    has labelled pixels.
    """

    def __init__(self, *, ignore_index: int, thresh: float | None = 0.7, min_kept: float = 0.1) -> None:
        super().__init__(ignore_index=ignore_index)
        if thresh is not None and not 0 < thresh <= 1:
            raise ValueError(f"thresh must lie in (0, 1], or be null, got {thresh}")
        if not 0 < min_kept <= 1:
            raise ValueError(f"min_kept must be a share of the labeled pixels, in (0, 1], got {min_kept}")
        self.thresh, self.min_kept = thresh, min_kept

    def total(self, logits: Float[Tensor, "b classes h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        counted = labels.flatten(1) != self.ignore_index
        surprise = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none").flatten(1)
        # By surprise, for probabilities of hard pixels may all be 0; what is ignored stands last.
        hardness = surprise.detach().masked_fill(~counted, -1.0)
        pixels = counted.sum(1, keepdim=True)
        last = ((pixels * self.min_kept).ceil().long() - 1).clamp(min=0)
        kept = hardness >= hardness.sort(dim=1, descending=True).values.gather(1, last)
        if self.thresh is not None:
            kept |= hardness > -math.log(self.thresh)
        kept &= counted
        mean = (surprise * kept).sum(1) / kept.sum(1).clamp(min=1)
        return (mean * pixels.squeeze(1)).sum()
