"""Schedules against the formulas of MAE and the tables of mmsegmentation."""

import math

import pytest

from mae_hydra.optim import cosine, poly

MAE_800 = {"unit": "epoch", "total": 800, "warmup": 40, "min_factor": 0.0}
ADE_160K = {"unit": "step", "total": 160000, "warmup": 1500, "power": 1.0, "min_factor": 0.0}
MMSEG = {  # factors at steps 0, 750, 1499, 1500, 80000, 159999
    "mmseg0": [1e-6, 0.49765674765625, 0.98997082982709, 0.990625, 0.5, 6.25e-6],
    "mmseg1": [1e-6, 0.50033405537025, 1.0, 1.0, 0.50472873645891, 0.0],
}


@pytest.mark.parametrize("variant", MMSEG)
def test_poly_equals_the_table_of_mmsegmentation(variant):
    schedule = poly(1263.125, variant=variant, **ADE_160K)
    assert schedule.steps == 160000
    factors = [schedule.factor(step) for step in (0, 750, 1499, 1500, 80000, 159999)]
    assert factors == pytest.approx(MMSEG[variant], rel=1e-12, abs=1e-15)
    assert variant != "mmseg1" or factors[-1] == 0


def test_poly_gives_the_learning_rate_that_a_public_log_shows():
    """implus' log of UPerNet-MAE, printed iteration 1500: smallest lr 3.660e-07, with layer decay 0.65 ** 13."""
    lr = 1e-4 * 0.65**13 * poly(1, variant="mmseg0", **ADE_160K).factor(1499)
    assert lr == pytest.approx(3.66013e-7, rel=1e-5)


def test_poly_falls_by_its_power_to_its_minimum_with_durations_in_epochs():
    settings = {"unit": "epoch", "total": 10, "warmup": 2, "power": 0.9, "min_factor": 0.1}
    assert poly(10, variant="mmseg0", **settings).factor(60) == pytest.approx(0.1 + 0.9 * (1 - 60 / 100) ** 0.9)
    assert poly(10, variant="mmseg1", **settings).factor(60) == pytest.approx(0.1 + 0.9 * (1 - 40 / 79) ** 0.9)


@pytest.mark.parametrize("variant", MMSEG)
def test_poly_without_warm_up_starts_at_the_full_rate(variant):
    settings = {"unit": "step", "total": 10, "warmup": 0, "power": 1.0, "min_factor": 0.0}
    assert poly(1, variant=variant, **settings).factor(0) == 1.0


@pytest.mark.parametrize("steps_per_epoch", [312.0, 312.7, 0.5])
def test_cosine_equals_the_formula_in_fractional_epochs(steps_per_epoch):
    schedule = cosine(steps_per_epoch, **(MAE_800 | {"min_factor": 0.01}))
    assert schedule.steps == math.ceil(800 * steps_per_epoch)
    for step in range(0, schedule.steps, max(schedule.steps // 97, 1)):
        epoch = step / steps_per_epoch
        expected = epoch / 40 if epoch < 40 else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (epoch - 40) / 760))
        assert schedule.factor(step) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_cosine_starts_at_exactly_zero():
    assert cosine(312, **MAE_800).factor(0) == 0.0


def test_cosine_ends_one_step_before_its_minimum():
    schedule = cosine(1, unit="step", total=100, warmup=0, min_factor=0.2)
    assert schedule.factor(0) == 1.0
    assert 0.2 < schedule.factor(99) < schedule.factor(98)
    assert schedule.factor(100) == pytest.approx(0.2)


def test_durations_in_epochs_and_in_steps_are_the_same_schedule():
    epochs = cosine(25, unit="epoch", total=8, warmup=2, min_factor=0.0)
    steps = cosine(25, unit="step", total=200, warmup=50, min_factor=0.0)
    assert epochs.steps == steps.steps == 200
    assert [epochs.factor(s) for s in range(200)] == [steps.factor(s) for s in range(200)]


def test_steps_are_whole_although_an_epoch_is_none():
    assert cosine(1.1, unit="epoch", total=50, warmup=0, min_factor=0.0).steps == 55  # 50 * 1.1 is 55.00000000000001
    assert cosine(1.1, unit="epoch", total=51, warmup=0, min_factor=0.0).steps == 57  # what has begun is finished


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"total": 0, "warmup": 0}, "total must come to at least one step, got 0 steps"),
        ({"warmup": 11}, r"warmup must lie between 0 and total \(10 steps\), got 11; a tenth is usual: 1$"),
        ({"warmup": -1}, r"warmup must lie between 0 and total \(10 steps\), got -1"),
        ({"total": 2.5}, "whole numbers of steps, got 2.5 and 1"),
        ({"warmup": 0.5}, "whole numbers of steps, got 10 and 0.5"),
        ({"unit": "iteration"}, "unit must be one of step, epoch, got 'iteration'"),
        ({"min_factor": 2.0}, r"min_factor must lie in \[0, 1\], got 2.0"),
        ({"min_factor": -0.1}, r"min_factor must lie in \[0, 1\], got -0.1"),
    ],
)
def test_bad_durations_are_named(change, message):
    settings = {"unit": "step", "total": 10, "warmup": 1, "min_factor": 0.0} | change
    with pytest.raises(ValueError, match=message):
        cosine(1, **settings)
    with pytest.raises(ValueError, match=message):
        poly(1, power=1.0, variant="mmseg0", **settings)


def test_a_schedule_without_decay_or_without_anything_but_warm_up_is_one():
    steps = {"unit": "step", "total": 4}
    assert [cosine(1, **steps, warmup=0, min_factor=1.0).factor(step) for step in range(6)] == [1.0] * 6
    only = cosine(1, **steps, warmup=4, min_factor=0.5)
    assert [only.factor(step) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 0.5, 0.5]
    short = poly(1, **steps, warmup=2, power=1.0, min_factor=0.25, variant="mmseg1")
    assert [short.factor(step) for step in range(6)] == [1e-6, 1.0, 1.0, 0.25, 0.25, 0.25]
    with pytest.raises(ValueError, match="steps_per_epoch must be positive, got 0"):
        cosine(0, unit="epoch", total=4, warmup=0, min_factor=0.0)


def test_the_end_is_that_of_the_epochs_and_what_lies_beyond_stays_at_the_minimum():
    """Two and a half steps: the third begins after four fifths of the run."""
    half = cosine(2.5, unit="epoch", total=1, warmup=0, min_factor=0.1)
    assert half.steps == 3
    expected = [1.0, *(0.1 + 0.45 * (1 + math.cos(math.pi * step / 2.5)) for step in (1, 2)), 0.1, 0.1]
    assert [half.factor(step) for step in (0, 1, 2, 3, 99)] == pytest.approx(expected)
    for variant in MMSEG:
        beyond = poly(1, unit="step", total=10, warmup=0, power=0.9, min_factor=0.1, variant=variant)
        assert beyond.factor(25) == pytest.approx(0.1)


@pytest.mark.parametrize(("steps_per_epoch", "warm"), [(2.6, 3), (2.4, 2)])
def test_poly_rounds_its_warm_up_to_whole_steps(steps_per_epoch, warm):
    settings = {"unit": "epoch", "total": 4, "warmup": 1, "power": 1.0, "min_factor": 0.0, "variant": "mmseg0"}
    schedule = poly(steps_per_epoch, **settings)
    ramp = [1 - (1 - min(step / warm, 1)) * (1 - 1e-6) for step in range(4)]
    assert [schedule.factor(step) for step in range(4)] == pytest.approx(
        [(1 - step / schedule.steps) * share for step, share in enumerate(ramp)]
    )


def test_an_unknown_variant_of_poly_is_refused():
    with pytest.raises(ValueError, match="variant must be one of mmseg0, mmseg1, got 'mmseg2'"):
        poly(1, variant="mmseg2", **ADE_160K)
    with pytest.raises(ValueError, match="power must be positive, got 0"):
        poly(1, variant="mmseg0", **(ADE_160K | {"power": 0}))
