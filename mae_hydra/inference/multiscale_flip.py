"""Multi-scale inference with flipping: sliding windows at several sizes and mirrored, the mean of their probabilities.

The protocol behind the published "ms+flip" numbers (mmsegmentation 0.x with min_size): for each ratio r the short
side becomes max(int(short * r), crop), ratio kept, so that small ratios meet in the same size. Equal passes are
computed once and weighted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mae_hydra.inference.resize import checked_long_ratio, resize_scores, resized_size, short_side, size_of
from mae_hydra.inference.segmenter import SegmentationModel, label_map, prepared
from mae_hydra.inference.slide import Windows
from mae_hydra.inference.windows import Size


class MultiscaleFlip:
    """Sliding windows (`crop`, `stride_ratio`, `window_batch` as in Slide) at each of `ratios`, and mirrored if `flip`.

    `short`: the short side at ratio 1; null: that of the picture. `long_ratio` caps the long side; null, as
    published: no cap. Per pass: logits at the original size -> softmax -> mirrored back; the scores are the mean of
    these probabilities.
    """

    def __init__(
        self,
        *,
        ratios: Sequence[float],
        flip: bool,
        crop: int | Sequence[int],
        stride_ratio: float,
        short: int | Sequence[int] | None,
        long_ratio: float | None,
        window_batch: int,
    ) -> None:
        if not ratios or min(ratios) <= 0:
            raise ValueError(f"ratios must be positive numbers, at least one, got {list(ratios)}")
        self.windows = Windows(crop, stride_ratio, window_batch)
        self.ratios, self.flip = tuple(ratios), flip
        self.short, self.long_ratio = short_side(short), checked_long_ratio(long_ratio)

    def check(self, model: SegmentationModel, size: Size) -> None:
        self.windows.check(model)

    @torch.no_grad()
    def scores(self, model: SegmentationModel, image: Tensor) -> Tensor:
        return next(self._scores(model, [image]))

    @torch.no_grad()
    def predict(self, model: SegmentationModel, images: list[Tensor]) -> list[Tensor]:
        return [label_map(scores) for scores in self._scores(model, images)]

    def passes(self, size: Size) -> dict[Size, int]:
        """The sizes at which a picture of `size` is looked at, and how many of the ratios each stands for."""
        short = min(size) if self.short is None else self.short
        return Counter(
            resized_size(size, max(int(short * ratio), *self.windows.crop), self.long_ratio) for ratio in self.ratios
        )

    def _scores(self, model: SegmentationModel, images: list[Tensor]) -> Iterator[Tensor]:
        plans = [self.passes(size_of(image)) for image in images]
        results = self.windows.logits(model, self._inputs(model, images, plans))
        for image, plan in zip(images, plans, strict=True):
            total = torch.zeros((), device=image.device)
            for weight in plan.values():
                total = total + weight * _probabilities(next(results), image)
                if self.flip:
                    total = total + weight * _probabilities(next(results).flip(-1), image)
            yield total / (len(self.ratios) * (2 if self.flip else 1))

    def _inputs(self, model: SegmentationModel, images: list[Tensor], plans: list[dict[Size, int]]) -> Iterator[Tensor]:
        """Every pass of every image, each followed by its mirror image: the order in which `_scores` reads results."""
        for image, plan in zip(images, plans, strict=True):
            for size in plan:
                resized = prepared(model, image, size)
                yield resized
                if self.flip:
                    yield resized.flip(-1)


def _probabilities(logits: Tensor, image: Tensor) -> Tensor:
    return resize_scores(logits, size_of(image)).softmax(0)
