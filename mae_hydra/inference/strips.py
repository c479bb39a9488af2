"""From windows to scores at a picture's own size, strip by strip, in memory that does not grow with its height.

A picture of 4000x6000 pixels has 14.4 GB of scores for 150 classes. Here they exist a strip at a time: rows are made
as soon as no further window reaches them, and handed on.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from mae_hydra.inference.passes import Pass
from mae_hydra.inference.windows import Size
from mae_hydra.precision import check_numbers

HELD_BYTES = 2**30  # of logits that windows are summed up in; a wider picture is looked at band by band
BAND = 256  # a band is that many columns wide, or twice, and so on: as the blocks of a map that is written
STRIP_BYTES = 2**26  # of scores made at once; they are few, so that they stay near the processor


class Picture:
    """The scores of a picture of `size` from one or several looks at it.

    `probabilities`: the scores are the weighted mean of the passes' softmax; else they are the one pass's logits.
    """

    def __init__(self, size: Size, passes: Sequence[Pass], *, probabilities: bool) -> None:
        assert probabilities or len(passes) == 1
        self.size, self.passes, self.probabilities = size, passes, probabilities
        self.width = size[1]
        self._done = 0

    def bands(self, num_classes: int) -> list[tuple[int, int]]:
        """Columns (first, last) to look at one after the other, so that sums of logits stay within their bytes.

        A band has at least the width of a window: windows that reach over an edge are looked at on both sides of it.
        """
        width = self.size[1]
        held = 4 * num_classes * sum(each.rows_held * each.size[1] for each in self.passes)
        if held <= HELD_BYTES:
            return [(0, width)]
        window = math.ceil(max(each.crop[1] for each in self.passes) / BAND)
        most = BAND * max(width * HELD_BYTES // held // BAND, window)
        step = BAND * math.ceil(width / math.ceil(width / most) / BAND)  # as many bands, and all of one width
        return [(first, min(first + step, width)) for first in range(0, width, step)]

    def narrowed(self, columns: tuple[int, int]) -> "Picture":
        """The same of some columns alone; before its first window."""
        if columns != (0, self.size[1]):
            self.width = columns[1] - columns[0]
            for each in self.passes:
                each.narrow(self.size[1], *columns)
        return self

    def windows(self) -> list[tuple[Pass, Size]]:
        """(pass, corner), so that all passes move down the picture side by side."""
        found = [(each, corner) for each in self.passes for corner in each.corners]
        return sorted(found, key=lambda window: window[1][0] / window[0].size[0])

    def strips(self) -> Iterator[Tensor]:
        """Rows (C, r, W) of scores that have become final since the last call."""
        height = self.size[0]
        ready = min(each.num_ready(height) for each in self.passes)
        if ready == self._done:
            return
        while self._done < ready:
            start = self._done
            at_once = max(1, STRIP_BYTES // (4 * self.passes[0].num_classes * self.width))
            self._done = min(start + at_once, ready)
            yield self._scores(start, self._done)
        for each in self.passes:
            each.forget(height, self._done)

    def _scores(self, start: int, stop: int) -> Tensor:
        if not self.probabilities:
            return self.passes[0].rows(self.size, start, stop)
        parts = (each.rows(self.size, start, stop).softmax(0).mul_(each.weight) for each in self.passes)
        total = next(parts)
        for part in parts:
            total += part
        return total


def run(
    logits_of: Callable[[Tensor], Tensor], pictures: Iterable[Picture], window_batch: int
) -> Iterator[tuple[int, Tensor]]:
    """(number of the picture, rows of its scores), for every picture from its top to its bottom.

    `pictures` is drawn from only as batches of windows fill up, across the windows of a picture and several pictures.
    """
    batch: list[tuple[int, Picture, Pass, Size]] = []

    def run_batch() -> Iterator[tuple[int, Tensor]]:
        found = logits_of(torch.stack([each.window(corner) for _, _, each, corner in batch]))
        check_numbers(found, "the model's logits")
        for (number, picture, each, corner), logits in zip(batch, found, strict=True):
            each.add(corner, logits)
            # Before the next window: what is handed on now leaves room for it.
            yield from ((number, strip) for strip in picture.strips())
        batch.clear()

    for number, picture in enumerate(pictures):
        for each, corner in picture.windows():
            if batch and batch[0][2].crop != each.crop:  # pictures of several sizes, looked at whole
                yield from run_batch()
            batch.append((number, picture, each, corner))
            if len(batch) == window_batch:
                yield from run_batch()
    if batch:
        yield from run_batch()
