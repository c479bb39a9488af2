"""When an evaluation is due."""

import math


class Clock:
    """`every`: a number of steps, or a share of the run in (0, 1); null: only at the end; 0: never.

    Unless it is never due, it is due at the end.
    """

    def __init__(self, every: int | float | None) -> None:
        whole = isinstance(every, int) and every >= 0
        if not (every is None or whole or 0 <= every < 1):
            raise ValueError(
                f"every must be a number of steps, a share of the run below 1, 0 (never) or null (at the end), "
                f"got {every}"
            )
        self.every = every

    def due(self, step: int, total_steps: int) -> bool:
        """Whether to evaluate after `step` finished steps of `total_steps`."""
        if self.every == 0:
            return False
        return step == total_steps or (step > 0 and step % self._interval(total_steps) == 0)

    def times(self, total_steps: int) -> int:
        """How often it is due in `total_steps` steps."""
        return 0 if self.every == 0 else math.ceil(total_steps / self._interval(total_steps))

    def _interval(self, total_steps: int) -> int:
        """Steps between two evaluations; the last one may come sooner."""
        if self.every is None:
            return total_steps
        return self.every if isinstance(self.every, int) else max(1, round(self.every * total_steps))
