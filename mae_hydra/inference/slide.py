"""Sliding-window inference: overlapping windows of the size the model takes, their logits averaged.

Windows are run in batches that go across the windows of a picture and across pictures of different sizes; the result
is that of one window at a time. Logits are averaged, not probabilities, each window with the same weight
(mmsegmentation's protocol).
"""

from collections.abc import Sequence

from torch import Tensor

from mae_hydra.inference.frame import Frame, Readable, readable
from mae_hydra.inference.passes import Pass, Windows
from mae_hydra.inference.resize import checked_long_ratio, resized_size, short_side
from mae_hydra.inference.segmentation_model import SHORTCUTS, SegmentationModel
from mae_hydra.inference.segmenter import SegmentationInference
from mae_hydra.inference.strips import Picture
from mae_hydra.inference.windows import Size


class Slide(SegmentationInference):
    """Windows of `crop` pixels, int(crop * `stride_ratio`) pixels apart (0.6667: 341 of 512, as published).

    `short`: resize to this short side first (ratio kept, the long side at most `long_ratio` times as long; null: no
    cap); null: no resizing. Pictures smaller than the crop are padded at the bottom and right with the mean colour.
    At most `window_batch` windows go through the model at once. The scores are logits.
    """

    def __init__(
        self,
        *,
        crop: int | Sequence[int],
        stride_ratio: float,
        short: int | Sequence[int] | None,
        long_ratio: float | None,
        window_batch: int,
        shortcuts: Sequence[str] = SHORTCUTS,
    ) -> None:
        super().__init__(shortcuts)
        self.windows = Windows(crop, stride_ratio, window_batch)
        self.short, self.long_ratio = short_side(short), checked_long_ratio(long_ratio)

    def check(self, model: SegmentationModel, size: Size) -> None:
        self.windows.check(model)

    def picture(self, model: SegmentationModel, image: Tensor | Readable) -> Picture:
        size = readable(image).size
        looked_at = size if self.short is None else resized_size(size, self.short, self.long_ratio)
        only = Pass(Frame(model, image, looked_at), self.windows.crop, self.windows.stride)
        return Picture(size, [only], probabilities=self.gives_probabilities)

    def window_batch(self, num_images: int) -> int:
        return self.windows.window_batch
