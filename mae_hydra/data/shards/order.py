"""The order in which an epoch visits samples that lie in shards: random, and each process stays with few shards.

An epoch lines the shards up in a new order. Its samples are cut into as many equal lanes as the batch can be cut into;
each micro-batch slot takes from one lane, so a process, whose slots are neighbours, reads the shards of its own lanes
only. Along a lane, `window` samples at a time are shuffled among themselves. All of it follows from (seed, epoch) and
the batch of a step, not from the number of processes, and nothing in it has the length of the data set.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from mae_hydra.seeds import generator

MOST_LANES = 64  # a process per lane reads no shard of another's, up to so many processes


class ShardOrder:
    """`order(epoch, place)` is the sample at a place of an epoch; each sample is at one place at most.

    `sizes`: samples of each shard. `ahead` is told the shards (positions in `sizes`) that a lane is about to enter.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        seed: int,
        global_batch: int,
        window: int,
        ahead: Callable[[Sequence[int]], None] = lambda shards: None,
        most_lanes: int = MOST_LANES,
    ) -> None:
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(self._sizes)])  # position of each shard's first sample
        self._seed, self._window, self._ahead = seed, window, ahead
        self.lanes = math.gcd(global_batch, most_lanes)
        while self.lanes > len(self._sizes):
            self.lanes //= 2
        self._slots = global_batch // self.lanes
        steps = int(self._first[-1]) // global_batch
        if not steps:  # less than one step: positions wrap around within the epoch, in one lane
            self.lanes, self._slots, steps = 1, int(self._first[-1]), 1
        self.lane_length = steps * self._slots
        self._shards: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._windows: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()

    def __call__(self, epoch: int, place: int) -> int:
        step, slot = divmod(place, self.lanes * self._slots)
        lane, slot = divmod(slot, self._slots)
        window, offset = divmod(step * self._slots + slot, self._window)
        key = (epoch, lane, window)
        if key not in self._windows:
            self._windows[key] = self._shuffled(*key)
            while len(self._windows) > 2 * self.lanes:
                self._windows.popitem(last=False)
        return int(self._windows[key][offset])

    def _shuffled(self, epoch: int, lane: int, window: int) -> np.ndarray:
        """The samples of a window, int64, in the order in which they are visited."""
        begin, end = self._bounds(lane, window)
        shards, starts = self._line(epoch)
        places = np.arange(begin, end)
        which = np.searchsorted(starts, places, side="right") - 1
        samples = self._first[shards[which]] + places - starts[which]
        generator(self._seed, "order", epoch, lane, window).shuffle(samples)
        if (window + 1) * self._window < self.lane_length:
            begin, end = self._bounds(lane, window + 1)
            coming = np.searchsorted(starts, [begin, end - 1], side="right") - 1
            self._ahead([int(shard) for shard in shards[coming[0] : coming[1] + 1]])
        return samples

    def _bounds(self, lane: int, window: int) -> tuple[int, int]:
        begin = lane * self.lane_length + window * self._window
        return begin, min(begin + self._window, (lane + 1) * self.lane_length)

    def _line(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(shards, starts): the shards as this epoch lines them up, and where in the line each begins."""
        if epoch not in self._shards:
            shards = generator(self._seed, "shards", epoch).permutation(len(self._sizes))
            starts = np.concatenate([[0], np.cumsum(self._sizes[shards])[:-1]])
            self._shards[epoch] = (shards, starts)
            while len(self._shards) > 2:
                self._shards.popitem(last=False)
        return self._shards[epoch]
