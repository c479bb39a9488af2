"""Seconds of a call, measured so that a noisy machine does not decide who wins.

Candidates take turns, round after round, and each is judged by its median: what slows the machine for a while slows
all of them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of every measured call, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    def percentile(self, share: float) -> float:
        """Seconds within which `share` (0..100) percent of the calls were done."""
        return float(np.percentile(self.seconds, share))


def alternate(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int, device: torch.device
) -> dict[str, Timing]:
    """Call every candidate once a round, `warmup` rounds unmeasured and `rounds` measured; the device is waited for."""
    if rounds < 1 or warmup < 0:
        raise ValueError(f"rounds must be at least 1 and warmup not negative, got {rounds} and {warmup}")
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(warmup + rounds):
        for name, call in candidates.items():
            wait(device)
            began = time.perf_counter()
            call()
            wait(device)
            if number >= warmup:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(tuple(taken)) for name, taken in seconds.items()}


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
