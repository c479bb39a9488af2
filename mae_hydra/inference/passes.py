"""One look at a picture, at one size: its windows, and the mean of their logits from the top downwards."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.inference.frame import Frame
from mae_hydra.inference.resize import resize_scores
from mae_hydra.inference.resize_rows import lerped, num_ready, resized_rows, source_rows
from mae_hydra.inference.segmentation_model import SegmentationModel
from mae_hydra.inference.windows import Size, as_size, as_written, window_corners, window_counts
from mae_hydra.types import image_size_of

SLACK = 2  # rows of the window above that the first row of the next strip may still lie between


class Windows:
    """Windows of `crop` pixels, int(crop * `stride_ratio`) pixels apart; `window_batch` of them go through the model
    at once. `crop` and `stride` are (height, width)."""

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
        wanted = image_size_of(model)
        if wanted is not None and self.crop != wanted:
            height, width = wanted
            raise UserError(
                f"inference.crop is {self.crop[0]}x{self.crop[1]}, the model takes {height}x{width}; "
                f"use inference.crop={as_written((height, width))}"
            )


class Pass:
    """A frame, padded bottom and right to at least one window, and what its windows gave so far.

    Windows come in the order of `corners`, row by row, so rows above the next one are final. Logits are summed up in
    float32, or wider where the model is, and held from the first row that is still to be read to the end of the newest
    window. `weight`: its share in a mean of passes. `mirrored`: windows are of the mirror image.
    """

    def __init__(self, frame: Frame, crop: Size, stride: Size, *, weight: float = 1.0, mirrored: bool = False) -> None:
        self.frame, self.inside, self.crop = frame, frame.size, crop
        self.size: Size = (max(self.inside[0], crop[0]), max(self.inside[1], crop[1]))
        self.weight, self.mirrored = weight, mirrored
        self.corners = window_corners(self.size, crop, stride)
        self._windows_over = [window_counts(*side) for side in zip(self.size, crop, stride, strict=True)]
        self._left, self._right = 0, self.size[1]  # of the columns of which logits are summed up
        self._shown: tuple[int, int] | None = None  # which columns of a result they are for, None for all
        self._added = 0
        self._sum: Tensor | None = None  # (C, rows, right - left), from row _first on
        self._first = self._needed = 0

    @property
    def rows_held(self) -> int:
        """How many rows of logits are in memory most of the time."""
        return min(self.crop[0] + SLACK, self.size[0])

    def narrow(self, width: int, start: int, stop: int) -> None:
        """Look for columns `start`..`stop` of a result of `width` columns alone; before any window."""
        if self.mirrored:
            start, stop = width - stop, width - start
        self._shown = (start, stop)
        self._left, self._right = source_rows(self.inside[1], width, start, stop)
        self.corners = [each for each in self.corners if each[1] < self._right and each[1] + self.crop[1] > self._left]

    @property
    def num_classes(self) -> int:
        """C; 0 before the first window."""
        return 0 if self._sum is None else len(self._sum)

    @property
    def held(self) -> int:
        """Rows of logits in memory."""
        return 0 if self._sum is None else self._sum.shape[1]

    @property
    def _final(self) -> int:
        """Rows above this one get no more logits."""
        return self.size[0] if self._added == len(self.corners) else self.corners[self._added][0]

    def window(self, corner: Size) -> Tensor:
        """(C, crop height, crop width)"""
        return self.frame.window(*corner, self.crop, mirrored=self.mirrored)

    def add(self, corner: Size, logits: Tensor) -> None:
        """Add the logits (C, h, w) of the next window, enlarged to its size."""
        assert corner == self.corners[self._added]
        wide = torch.promote_types(logits.dtype, torch.float32)
        logits = resize_scores(logits.to(wide), self.crop)
        top, left = corner
        held = self._reaching(top + self.crop[0], logits)
        first, last = max(left, self._left), min(left + self.crop[1], self._right)
        rows = held[:, top - self._first : top - self._first + self.crop[0]]
        rows[:, :, first - self._left : last - self._left].add_(logits[:, :, first - left : last - left])
        self._added += 1

    def num_ready(self, height: int) -> int:
        """Count the rows of a result of `height` rows that can be made."""
        return num_ready(self.inside[0], height, min(self._final, self.inside[0]))

    def rows(self, size: Size, start: int, stop: int) -> Tensor:
        """Rows `start`..`stop` of the mean logits at `size`, the right way round: (C, stop - start, width)."""
        assert self._sum is not None
        first, last = source_rows(self.inside[0], size[0], start, stop)
        right = min(self._right, self.inside[1])
        sums = self._sum[:, first - self._first : last - self._first, : right - self._left]
        down, across = (sums.new_tensor(counts) for counts in self._windows_over)
        means = sums / (down[first:last, None] * across[self._left : right])
        if self._shown is None:
            found = resized_rows(means, first, self.inside[0], size, start, stop)
        else:
            found = lerped(means, first, self.inside[0], size[0], start, stop, dim=1)
            found = lerped(found, self._left, self.inside[1], size[1], *self._shown, dim=2)
        return found.flip(-1) if self.mirrored else found

    def forget(self, height: int, start: int) -> None:
        """No row before `start` of a result of `height` rows is asked for again."""
        if start == height:
            self._sum = None
        else:
            # Where rows are skipped on the way to a smaller result, windows still have to fit in.
            self._needed = min(source_rows(self.inside[0], height, start, start + 1)[0], self._final)

    def _reaching(self, stop: int, like: Tensor) -> Tensor:
        """The sums, with room up to row `stop`: where it can be, by giving up rows that are not needed any more."""
        if self._sum is not None and stop <= self._first + self._sum.shape[1]:
            return self._sum
        old, shift = self._sum, self._needed - self._first
        kept = 0 if old is None else old.shape[1] - shift
        if old is None or stop - self._needed > old.shape[1]:
            rows = max(stop - self._needed, self.rows_held)
            new = like.new_zeros((len(like), rows, self._right - self._left))
            if old is not None:
                new[:, :kept] = old[:, shift:]
        else:
            new = old
            for start in range(0, kept, shift):  # in pieces that do not overlap, without another copy of it all
                end = min(start + shift, kept)
                new[:, start:end] = old[:, start + shift : end + shift]
            new[:, kept:] = 0
        self._sum, self._first = new, self._needed
        return new
