"""One look at a picture, at one size: its windows, and the mean of their logits from the top downwards."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from mae_hydra.errors import UserError
from mae_hydra.inference.resize import resize_scores, size_of
from mae_hydra.inference.resize_rows import num_ready, resized_rows, source_rows
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
    """A normalised image (C, H, W), padded bottom and right to at least one window, and what its windows gave so far.

    Windows come in the order of `corners`, row by row, so rows above the next one are final. Logits are summed up in
    float32, or wider where the model is, and held from the first row that is still to be read to the end of the newest
    window. `weight`: its share in a mean of passes. `mirrored`: the image is the mirror image.
    """

    def __init__(self, image: Tensor, crop: Size, stride: Size, *, weight: float = 1.0, mirrored: bool = False) -> None:
        self.inside = size_of(image)
        # Zero is the mean colour: the image is normalised already.
        self.image = pad(image, (0, max(crop[1] - image.shape[2], 0), 0, max(crop[0] - image.shape[1], 0)))
        self.size, self.crop = size_of(self.image), crop
        self.weight, self.mirrored = weight, mirrored
        self.corners = window_corners(self.size, crop, stride)
        self._counts = tuple(
            image.new_tensor(window_counts(*side)) for side in zip(self.size, crop, stride, strict=True)
        )
        self._added = 0
        self._sum: Tensor | None = None  # (C, rows, W), from row _first on
        self._first = self._needed = 0

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
        return self.image[:, corner[0] : corner[0] + self.crop[0], corner[1] : corner[1] + self.crop[1]]

    def add(self, corner: Size, logits: Tensor) -> None:
        """Add the logits (C, h, w) of the next window, enlarged to its size."""
        assert corner == self.corners[self._added]
        wide = torch.promote_types(logits.dtype, torch.float32)
        logits = resize_scores(logits.to(wide), self.crop)
        top, left = corner
        held = self._reaching(top + self.crop[0], logits)
        held[:, top - self._first :, left:][:, : self.crop[0], : self.crop[1]].add_(logits)
        self._added += 1

    def num_ready(self, height: int) -> int:
        """Count the rows of a result of `height` rows that can be made."""
        return num_ready(self.inside[0], height, min(self._final, self.inside[0]))

    def rows(self, size: Size, start: int, stop: int) -> Tensor:
        """Rows `start`..`stop` of the mean logits at `size`, the right way round: (C, stop - start, width)."""
        assert self._sum is not None
        first, last = source_rows(self.inside[0], size[0], start, stop)
        sums = self._sum[:, first - self._first : last - self._first, : self.inside[1]]
        down, across = self._counts
        means = sums / (down[first:last, None] * across[: self.inside[1]])
        found = resized_rows(means, first, self.inside[0], size, start, stop)
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
            rows = max(stop - self._needed, min(self.crop[0] + SLACK, self.size[0]))
            new = like.new_zeros((len(like), rows, self.size[1]))
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
