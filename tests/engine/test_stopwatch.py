"""How fast training runs, by a clock that the test sets."""

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mae_hydra.engine import stopwatch
from mae_hydra.engine.stopwatch import Stopwatch


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(stopwatch.time, "perf_counter", found)
    usage = SimpleNamespace(ru_maxrss=3 * 2**20)  # kilobytes, on Linux
    monkeypatch.setattr(stopwatch.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(stopwatch.sys, "platform", "linux")
    return found


def test_time_of_evaluations_and_saves_is_not_that_of_training(clock: Clock) -> None:
    watch = Stopwatch(torch.device("cpu"))

    def batches() -> Generator[Any]:
        while True:
            clock.now += 0.5
            yield clock.now

    watched = watch.watch(batches())
    for _ in range(2):
        next(watched)
        clock.now += 1.5  # of the step
        watch.images += 8
    with watch.paused():
        clock.now += 60.0
    assert watch.read() == {"perf/memory_gb": 3.0, "perf/images_per_second": 4.0, "perf/data_wait": 0.25}
    next(watched)
    clock.now += 1.5
    watch.images += 8
    assert watch.read() == {"perf/memory_gb": 3.0, "perf/images_per_second": 4.0, "perf/data_wait": 0.25}
    clock.now += 0.25
    watch.images += 8
    assert watch.read() == {"perf/memory_gb": 3.0, "perf/images_per_second": 32.0, "perf/data_wait": 0.0}
    clock.now += 5.0
    assert watch.read() == {"perf/memory_gb": 3.0}  # which took no step
    watched.close()


def test_the_memory_of_a_mac_is_told_in_bytes_and_that_of_a_device_by_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**30 * (device.index + 5))
    assert Stopwatch(torch.device("cuda", 2)).read()["perf/memory_gb"] == 7.0
    monkeypatch.setattr(stopwatch.sys, "platform", "darwin")
    assert Stopwatch(torch.device("cpu")).read()["perf/memory_gb"] == 3 * 2**20 / 2**30
