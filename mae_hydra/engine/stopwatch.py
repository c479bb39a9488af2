"""How fast training runs and what it takes: images per second, the share of time waited for data, peak memory."""

import resource
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import torch

from mae_hydra.types import Batch


class Stopwatch:
    """Counts the time of training steps only: not of evaluations, checkpoints, or the start."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._reset()

    def _reset(self) -> None:
        self.images = 0
        self.waited = 0.0
        self.began = time.perf_counter()

    def watch(self, batches: Generator[Batch]) -> Generator[Batch]:
        """Yield the same batches, and note how long each was waited for."""
        with closing(batches):
            while True:
                before = time.perf_counter()
                batch = next(batches)
                self.waited += time.perf_counter() - before
                yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that is no training. Waits for the device: enter it only where there is something to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # steps that are still queued belong to training
        before = time.perf_counter()
        yield
        self.began += time.perf_counter() - before

    def read(self) -> dict[str, float]:
        """Figures since the last reading. Right after a device value was read: then no step is still queued."""
        figures = {"perf/memory_gb": _peak_memory(self.device) / 2**30}
        if self.images:  # none where a resumed run writes the line of its last step, which it did not take itself
            elapsed = max(time.perf_counter() - self.began, 1e-9)
            figures |= {"perf/images_per_second": self.images / elapsed, "perf/data_wait": self.waited / elapsed}
        self._reset()
        return figures


def _peak_memory(device: torch.device) -> int:
    """Bytes at most: allocated on the device, or resident in the main memory where the CPU computes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
