"""Learning-rate schedules: a number of optimizer steps, and a pure function from the step to a factor.

`factor(step)` multiplies the initial learning rate of every group for the update that turns `step` finished updates
into `step + 1`. Durations are given in steps or epochs and converted here, once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Unit = Literal["step", "epoch"]
Variant = Literal["mmseg0", "mmseg1"]
WARMUP_START = 1e-6  # the factor from which mmsegmentation warms up


@dataclass(frozen=True)
class Schedule:
    """How long to train, in optimizer steps, and the learning rate's factor at each of them."""

    steps: int
    factor: Callable[[int], float]


def cosine(steps_per_epoch: float, *, unit: str, total: float, warmup: float, min_factor: float) -> Schedule:
    """Linear warm-up from exactly 0, then half a cosine down to `min_factor` (MAE, all recipes).

    The factor is t / w before step w, then m + (1 - m) * (1 + cos(pi * (t - w) / (T - w))) / 2. A fractional epoch is a
    fractional number of steps: warm-up does not end on a whole step.
    """
    steps, end, start = _durations(steps_per_epoch, unit, total, warmup)
    _check_min_factor(min_factor)

    def factor(step: int) -> float:
        if step < start:
            return step / start
        return min_factor + (1 - min_factor) * 0.5 * (1 + math.cos(math.pi * _progress(step - start, end - start)))

    return Schedule(steps, factor)


def poly(
    steps_per_epoch: float, *, unit: str, total: float, warmup: float, power: float, min_factor: float, variant: str
) -> Schedule:
    """Linear warm-up, then (1 - progress) ** power down to `min_factor`; T steps in all, w of them warm-up.

    - "mmseg0" (mmsegmentation 0.x, the released checkpoints): progress is t / T from the very start, and before step w
      the result is multiplied by 1 - (1 - t / w) * (1 - 1e-6). The last update still has a factor above the minimum.
    - "mmseg1" (mmsegmentation 1.x): 1e-6 + (1 - 1e-6) * t / (w - 1) before step w, then progress (t - w) / (T - w - 1):
      the last update has exactly the minimum.
    """
    steps, _, fractional = _durations(steps_per_epoch, unit, total, warmup)
    start = round(fractional)
    _check_min_factor(min_factor)
    if power <= 0:
        raise ValueError(f"power must be positive, got {power}")
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")

    def decay(progress: float) -> float:
        return min_factor + (1 - min_factor) * (1 - progress) ** power

    def mmseg0(step: int) -> float:
        warm = 1 - (1 - step / start) * (1 - WARMUP_START) if step < start else 1.0
        return decay(_progress(step, steps)) * warm

    def mmseg1(step: int) -> float:
        if step < start:
            return WARMUP_START + (1 - WARMUP_START) * step / max(start - 1, 1)
        return decay(_progress(step - start, steps - start - 1))

    return Schedule(steps, {"mmseg0": mmseg0, "mmseg1": mmseg1}[variant])


def _progress(done: float, length: float) -> float:
    """The finished share of a phase, in [0, 1]; a phase without length is finished."""
    return min(done / length, 1.0) if length > 0 else 1.0


def _durations(steps_per_epoch: float, unit: str, total: float, warmup: float) -> tuple[int, float, float]:
    """Steps to run, then length and warm-up as (fractional) steps."""
    if steps_per_epoch <= 0:
        raise ValueError(f"steps_per_epoch must be positive, got {steps_per_epoch}")
    if unit not in get_args(Unit):
        raise ValueError(f"unit must be one of {', '.join(get_args(Unit))}, got {unit!r}")
    if unit == "step" and (int(total) != total or int(warmup) != warmup):
        raise ValueError(f"total and warmup must be whole numbers of steps, got {total} and {warmup}")
    if not 0 <= warmup <= total:
        raise ValueError(
            f"warmup must lie between 0 and total ({total} {unit}s), got {warmup}; a tenth is usual: {total / 10:g}"
        )
    factor = steps_per_epoch if unit == "epoch" else 1
    steps = math.ceil(total * factor - 1e-6)  # the last, partial step is run; 1e-6: 3 * 0.1 is no reason for one more
    if steps < 1:
        raise ValueError(f"total must come to at least one step, got {total} {unit}s")
    return steps, total * factor, warmup * factor


def _check_min_factor(min_factor: float) -> None:
    if not 0 <= min_factor <= 1:
        raise ValueError(f"min_factor must lie in [0, 1], got {min_factor}")
