"""Cross-entropy of pixels, with class weights and label smoothing."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.models.segmentation.losses.enlarged import EnlargedLoss, in_parts
from mae_hydra.types import Loss

NORMALIZERS = ("valid", "all", "weights")
AUTO = "auto"


class PixelCrossEntropy(EnlargedLoss):
    """Cross-entropy summed over labelled pixels, in float32 or better.

    `class_weights`: what a pixel of each class counts, or "auto": from how often each class occurs in the training
    images, worked out before the first step (`mae_hydra.data.median_frequency_weights`). `label_smoothing`: the share
    of the target that is spread over all classes.

    `normalizer`: what the sum is divided by: "valid" pixels, "all" pixels, ignored ones included (mmsegmentation's
    divisor, with which the published losses were made), or the class "weights" of the valid ones, as torch's mean has
    it; the first two do not ask which classes the images of a batch hold.
    """

    adds_pixels = True
    weight: Tensor | None

    def __init__(
        self,
        *,
        ignore_index: int,
        normalizer: str = "valid",
        class_weights: Sequence[float] | str | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        if normalizer not in NORMALIZERS:
            raise ValueError(f"normalizer must be 'valid', 'all' or 'weights', got {normalizer!r}")
        if normalizer == "weights" and class_weights is None:
            raise ValueError("normalizer is 'weights', and there are no class_weights; use 'valid'")
        if isinstance(class_weights, str) and class_weights != AUTO:
            raise ValueError(f"class_weights must be a list of numbers, auto or null, got {class_weights!r}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.normalizer, self.label_smoothing = normalizer, label_smoothing
        self.wants_class_weights = class_weights == AUTO
        self.register_buffer("weight", None, persistent=False)
        if not (class_weights is None or isinstance(class_weights, str)):
            self.set_class_weights(class_weights)

    def set_class_weights(self, weights: Sequence[float]) -> None:
        """One number for each class, none negative."""
        values = torch.tensor(list(weights), dtype=torch.float32)
        if not (values.ndim == 1 and values.isfinite().all() and (values >= 0).all() and values.any()):
            raise ValueError(f"class_weights must be numbers from 0, not all of them 0, got {list(weights)}")
        self.weight = values

    def forward(self, logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"]) -> Loss:
        if self.wants_class_weights and self.weight is None:
            raise UserError("class_weights=auto is worked out when a training begins; here they must be a list")
        return Loss(in_parts(self.total, logits, labels, by_rows=self.adds_pixels), self.count(labels))

    def total(self, logits: Float[Tensor, "b classes h w"], labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        weight = None if self.weight is None else self.weight.to(logits)
        return F.cross_entropy(
            logits,
            labels,
            weight=weight,
            ignore_index=self.ignore_index,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )

    def count(self, labels: Integer[Tensor, "b h w"]) -> Float[Tensor, ""] | Integer[Tensor, ""]:
        """What the sum is divided by."""
        if self.normalizer == "all":
            return torch.full((), labels.numel(), device=labels.device)
        counted = labels != self.ignore_index
        if self.normalizer == "valid" or self.weight is None:
            return counted.sum()
        return (self.weight.to(labels.device)[labels.where(counted, 0)] * counted).sum()
