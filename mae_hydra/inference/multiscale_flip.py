"""Multi-scale inference with flipping: sliding windows at several sizes and mirrored, the mean of their probabilities.

The protocol behind the published "ms+flip" numbers (mmsegmentation 0.x with min_size): for each ratio r the short
side becomes max(int(short * r), crop), ratio kept, so that small ratios meet in the same size. Equal passes are
computed once and weighted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mae_hydra.inference.resize import checked_long_ratio, resize_scores, resized_size, short_side, size_of
from mae_hydra.inference.segmenter import RESIZED_BYTES, SegmentationModel, label_map, prepared
from mae_hydra.inference.slide import Windows
from mae_hydra.inference.windows import Size


class Pass(NamedTuple):
    """`weight`: its share of the mean. `logits`: float32 (K, h, w), of the mirror image where `mirrored`."""

    weight: float
    logits: Tensor
    mirrored: bool

    def resized(self, size: Size, start: int = 0, count: int | None = None) -> Tensor:
        """Logits of `count` classes from `start` on (all, where None) at `size`, the right way round."""
        chosen = self.logits[start:] if count is None else self.logits[start : start + count]
        scores = resize_scores(chosen, size)
        return scores.flip(-1) if self.mirrored else scores


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
        [(_, passes)] = self._passes(model, [image])
        return _probabilities(passes, size_of(image))

    @torch.no_grad()
    def predict(self, model: SegmentationModel, images: list[Tensor]) -> list[Tensor]:
        return [_label_map(passes, size_of(image)) for image, passes in self._passes(model, images)]

    def passes(self, size: Size) -> dict[Size, int]:
        """The sizes at which a picture of `size` is looked at, and how many of the ratios each stands for."""
        short = min(size) if self.short is None else self.short
        return Counter(
            resized_size(size, max(int(short * ratio), *self.windows.crop), self.long_ratio) for ratio in self.ratios
        )

    def _passes(self, model: SegmentationModel, images: list[Tensor]) -> Iterator[tuple[Tensor, list["Pass"]]]:
        """(image, what each pass over it found)."""
        plans = [self.passes(size_of(image)) for image in images]
        results = self.windows.logits(model, self._inputs(model, images, plans))
        whole = len(self.ratios) * (2 if self.flip else 1)
        for image, plan in zip(images, plans, strict=True):
            found = []
            for weight in plan.values():
                found.append(Pass(weight / whole, next(results), mirrored=False))
                if self.flip:
                    found.append(Pass(weight / whole, next(results), mirrored=True))
            yield image, found

    def _inputs(self, model: SegmentationModel, images: list[Tensor], plans: list[dict[Size, int]]) -> Iterator[Tensor]:
        """Every pass of every image, each followed by its mirror image: the order in which `_scores` reads results."""
        for image, plan in zip(images, plans, strict=True):
            for size in plan:
                resized = prepared(model, image, size)
                yield resized
                if self.flip:
                    yield resized.flip(-1)


def _probabilities(passes: list[Pass], size: Size) -> Tensor:
    """float32 (K, *size): the weighted mean of the passes' probabilities."""
    total = torch.zeros((), device=passes[0].logits.device)
    for each in passes:
        total = total + each.weight * each.resized(size).softmax(0)
    return total


def _label_map(passes: list[Pass], size: Size, most_bytes: int = RESIZED_BYTES) -> Tensor:
    """The class map uint8 (H, W) of `_probabilities`; where those take more than `most_bytes`, a few classes at a time.

    Then every pass is resized twice: once for what its probabilities are divided by, once for the probabilities.
    """
    classes = len(passes[0].logits)
    at_once = max(1, most_bytes // (4 * size[0] * size[1]))
    if at_once >= classes:
        return label_map(_probabilities(passes, size))
    starts = range(0, classes, at_once)
    divisors = [
        torch.stack([each.resized(size, start, at_once).logsumexp(0) for start in starts]).logsumexp(0)
        for each in passes
    ]
    best: Tensor | None = None
    found = torch.zeros(size, dtype=torch.uint8, device=passes[0].logits.device)
    for start in starts:
        chances = torch.zeros((), device=found.device)
        for each, divisor in zip(passes, divisors, strict=True):
            chances = chances + each.weight * (each.resized(size, start, at_once) - divisor).exp()
        value, index = chances.max(0)
        better = torch.ones_like(found, dtype=torch.bool) if best is None else value > best
        found = torch.where(better, index.to(torch.uint8) + start, found)
        best = value if best is None else torch.where(better, value, best)
    return found
