"""Scaling on paper: limits that must hold, and the simulation against the formula."""

from dataclasses import replace

import numpy as np
import pytest
from scaling import Inputs, lost_share, row, simulate, sources, young

INPUTS = Inputs(
    parameters=112e6,
    step_flops=58e9,
    checkpoint_bytes=1.34e9,
    image_bytes=110e3,
    decode_rate=200.0,
    write_rate=500e6,
    start_seconds=30.0,
)


def test_one_device_has_nothing_to_exchange():
    assert row(INPUTS, 1).reduce == 0
    assert row(INPUTS, 1).efficiency == 1


def test_compute_falls_with_devices_and_the_exchange_does_not():
    few, many = row(INPUTS, 64), row(INPUTS, 512)
    assert many.compute == pytest.approx(few.compute / 8)
    assert many.reduce == pytest.approx(few.reduce, rel=0.02)
    assert many.efficiency <= few.efficiency


def test_the_exchange_is_a_ring_of_fp32_gradients():
    # 7/4 of 4 x 112e6 bytes through 300 GB/s.
    assert row(INPUTS, 8).reduce == pytest.approx(7 / 4 * 4 * 112e6 / 300e9)


def test_youngs_interval_loses_least():
    best = young(5.0, 1e5)
    losses = [lost_share(factor * best, 5.0, 60.0, 1e5) for factor in (0.5, 0.8, 1.0, 1.25, 2.0)]
    assert min(losses) == losses[2]


@pytest.mark.parametrize(("interval", "stall", "restart", "mtbf"), [(1000, 5, 60, 1e5), (300, 1, 300, 3e4)])
def test_the_simulation_agrees_with_the_formula(interval, stall, restart, mtbf):
    work = 2e6
    times = [simulate(work, interval, stall, restart, mtbf, seed) for seed in range(60)]
    expected = lost_share(interval, stall, restart, mtbf)
    assert np.mean(times) / work - 1 == pytest.approx(expected, rel=0.1)


def test_without_failures_only_saving_costs():
    assert simulate(1000.0, 100.0, 1.0, 60.0, 1e12, seed=0) == pytest.approx(1010.0)


def test_checkpoints_are_never_closer_than_they_can_be_written():
    slow = replace(INPUTS, write_rate=1e6)
    assert row(slow, 512).interval == pytest.approx(1.34e9 / 1e6)


def test_every_input_says_where_it_comes_from():
    found = sources(INPUTS)
    assert len(found) == 16
    assert all(source for _, _, source in found)
