"""Multi-scale inference with flipping: sliding windows at several sizes and mirrored, the mean of their probabilities.

The protocol behind the published "ms+flip" numbers (mmsegmentation 0.x with min_size): for each ratio r the short
side becomes max(int(short * r), crop), ratio kept, so that small ratios meet in the same size; of a crop that is no
square the least short side with which the picture covers it. Equal passes are computed once and weighted.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from mae_hydra.inference.frame import Frame, Readable, readable
from mae_hydra.inference.passes import Pass, Windows
from mae_hydra.inference.resize import checked_long_ratio, resized_size, short_side
from mae_hydra.inference.segmentation_model import SHORTCUTS, SegmentationModel
from mae_hydra.inference.segmenter import SegmentationInference
from mae_hydra.inference.strips import Picture
from mae_hydra.inference.windows import Size


class MultiscaleFlip(SegmentationInference):
    """Sliding windows (`crop`, `stride_ratio`, `window_batch` as in Slide) at each of `ratios`, and mirrored if `flip`.

    `short`: the short side at ratio 1; null: that of the picture. `long_ratio` caps the long side; null, as
    published: no cap. Per pass: logits at the original size -> softmax -> mirrored back; the scores are the mean of
    these probabilities.
    """

    gives_probabilities = True

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
        shortcuts: Sequence[str] = SHORTCUTS,
    ) -> None:
        if not ratios or min(ratios) <= 0:
            raise ValueError(f"ratios must be positive numbers, at least one, got {list(ratios)}")
        super().__init__(shortcuts)
        self.windows = Windows(crop, stride_ratio, window_batch)
        self.ratios, self.flip = tuple(ratios), flip
        self.short, self.long_ratio = short_side(short), checked_long_ratio(long_ratio)

    def check(self, model: SegmentationModel, size: Size) -> None:
        self.windows.check(model)

    def passes(self, size: Size) -> dict[Size, int]:
        """The sizes at which a picture of `size` is looked at, and how many of the ratios each stands for."""
        short = min(size) if self.short is None else self.short
        least = (-(-min(size) * crop // side) for crop, side in zip(self.windows.crop, size, strict=True))  # rounded up
        covering = max(least)
        return Counter(resized_size(size, max(int(short * ratio), covering), self.long_ratio) for ratio in self.ratios)

    def picture(self, model: SegmentationModel, image: Tensor | Readable) -> Picture:
        crop, stride = self.windows.crop, self.windows.stride
        shown, looks = readable(image).size, []
        for size, times in self.passes(shown).items():
            frame = Frame(model, image, size)
            weight = times / len(self.ratios) / (2 if self.flip else 1)
            looks.append(Pass(frame, crop, stride, weight=weight))
            if self.flip:
                looks.append(Pass(frame, crop, stride, weight=weight, mirrored=True))
        return Picture(shown, looks, probabilities=self.gives_probabilities)

    def window_batch(self, num_images: int) -> int:
        return self.windows.window_batch
