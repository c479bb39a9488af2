"""When evaluations are due."""

import pytest

from mae_hydra.evaluation import Clock


@pytest.mark.parametrize(
    ("every", "total", "steps"),
    [
        (4, 10, [4, 8, 10]),
        (5, 10, [5, 10]),
        (100, 10, [10]),
        (1, 3, [1, 2, 3]),
        (None, 10, [10]),
        (0, 10, []),
        (0.25, 100, [25, 50, 75, 100]),
        (0.3, 10, [3, 6, 9, 10]),
        (0.001, 3, [1, 2, 3]),
        (0.4, 9, [4, 8, 9]),  # 3.6 steps are 4
    ],
)
def test_an_evaluation_is_due_on_its_clock_and_at_the_end(every: float | None, total: int, steps: list[int]) -> None:
    clock = Clock(every)
    assert [step for step in range(total + 1) if clock.due(step, total)] == steps
    assert clock.times(total) == len(steps)


@pytest.mark.parametrize("every", [-1, 1.5, -0.1, 1.0])
def test_an_impossible_clock_is_refused(every: float) -> None:
    with pytest.raises(ValueError, match=f"every must be a number of steps, .* got {every}"):
        Clock(every)
