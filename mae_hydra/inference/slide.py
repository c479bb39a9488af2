"""Sliding-window inference: overlapping windows of the size the model takes, their logits averaged.

Windows are run in batches that go across the windows of a picture and across pictures of different sizes; the result
is that of one window at a time. Logits are averaged, not probabilities, each window with the same weight
(mmsegmentation's protocol).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from mae_hydra.errors import UserError
from mae_hydra.inference.resize import checked_long_ratio, resize_scores, resized_size, short_side, size_of
from mae_hydra.inference.segmenter import SegmentationModel, prepared, resized_label_map, sooner
from mae_hydra.inference.windows import Size, as_size, as_written, window_corners, window_counts


class Slide:
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
    ) -> None:
        self.windows = Windows(crop, stride_ratio, window_batch)
        self.short, self.long_ratio = short_side(short), checked_long_ratio(long_ratio)

    def check(self, model: SegmentationModel, size: Size) -> None:
        self.windows.check(model)

    @torch.no_grad()
    def scores(self, model: SegmentationModel, image: Tensor) -> Tensor:
        [(_, logits)] = self._logits(model, [image])
        return resize_scores(logits, size_of(image))

    @torch.no_grad()
    def predict(self, model: SegmentationModel, images: list[Tensor]) -> list[Tensor]:
        return [resized_label_map(logits, size_of(image)) for image, logits in self._logits(model, images)]

    def _logits(self, model: SegmentationModel, images: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """(image, its mean logits at the size at which it was looked at)."""
        inputs = (prepared(model, image, self._size(size_of(image))) for image in images)
        yield from zip(images, self.windows.logits(model, inputs), strict=True)

    def _size(self, size: Size) -> Size:
        return size if self.short is None else resized_size(size, self.short, self.long_ratio)


class Windows:
    """The sliding itself, on pictures already resized and normalised; `crop` and `stride` are (height, width)."""

    def __init__(self, crop: int | Sequence[int], stride_ratio: float, window_batch: int) -> None:
        if not 0 < stride_ratio <= 1:
            raise ValueError(f"stride_ratio must lie in (0, 1], got {stride_ratio}")
        if window_batch < 1:
            raise ValueError(f"window_batch must be at least 1, got {window_batch}")
        height, width = self.crop = as_size("crop", crop)
        self.stride: Size = (max(1, int(height * stride_ratio)), max(1, int(width * stride_ratio)))
        self.window_batch = window_batch

    def check(self, model: SegmentationModel) -> None:
        """Raise a UserError where the model takes no windows of this size; pictures may have any."""
        if self.crop != model.encoder.image_size:
            height, width = model.encoder.image_size
            raise UserError(
                f"inference.crop is {self.crop[0]}x{self.crop[1]}, the model takes {height}x{width}; "
                f"use inference.crop={as_written((height, width))}"
            )

    def logits(self, model: SegmentationModel, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Mean logits float32 (K, H, W) of each normalised image (C, H, W), in order.

        `images` is drawn from only as batches fill up, and a picture is handed out as soon as its last window is done,
        so that no more than about `window_batch` pictures are alive at a time.
        """
        model = sooner(model)
        open_canvases: deque[_Canvas] = deque()
        batch: list[tuple[_Canvas, Size]] = []
        for image in images:
            canvas = _Canvas(image, self.crop, self.stride)
            open_canvases.append(canvas)
            for corner in canvas.corners:
                batch.append((canvas, corner))
                if len(batch) == self.window_batch:
                    _run(model, batch, self.crop)
                    batch = []
                    while open_canvases and open_canvases[0].missing == 0:
                        yield open_canvases.popleft().mean()
        if batch:
            _run(model, batch, self.crop)
        while open_canvases:
            yield open_canvases.popleft().mean()


class _Canvas:
    """One picture, padded to at least a window, and the float32 sum of the logits of its windows so far."""

    def __init__(self, image: Tensor, crop: Size, stride: Size) -> None:
        self.inside = size_of(image)
        # Zero is the mean colour: the image is normalised already.
        self.image = pad(image, (0, max(crop[1] - image.shape[2], 0), 0, max(crop[0] - image.shape[1], 0)))
        self.size = size_of(self.image)
        self.crop, self.stride = crop, stride
        self.corners = window_corners(self.size, crop, stride)
        self.missing = len(self.corners)
        self.sum: Tensor | None = None

    def window(self, corner: Size) -> Tensor:
        return _cut(self.image, corner, self.crop)

    def add(self, corner: Size, logits: Tensor) -> None:
        if self.sum is None:
            self.sum = logits.new_zeros((len(logits), *self.size), dtype=torch.float32)
        _cut(self.sum, corner, self.crop).add_(logits)
        self.missing -= 1

    def mean(self) -> Tensor:
        assert self.sum is not None
        sides = zip(self.size, self.crop, self.stride, strict=True)
        rows, columns = (self.sum.new_tensor(window_counts(*side)) for side in sides)
        self.sum /= rows[:, None] * columns
        return self.sum[:, : self.inside[0], : self.inside[1]]


def _run(model: SegmentationModel, batch: Sequence[tuple[_Canvas, Size]], crop: Size) -> None:
    logits = model(torch.stack([canvas.window(corner) for canvas, corner in batch]))
    assert size_of(logits) == crop, f"logits of {size_of(logits)} for windows of {crop}"
    for (canvas, corner), window_logits in zip(batch, logits, strict=True):
        canvas.add(corner, window_logits)


def _cut(image: Tensor, corner: Size, crop: Size) -> Tensor:
    return image[:, corner[0] : corner[0] + crop[0], corner[1] : corner[1] + crop[1]]
