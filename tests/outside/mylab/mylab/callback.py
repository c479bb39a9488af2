"""A callback: is told the numbers of a run as a tracker is, and may end it or have a checkpoint saved."""

from collections.abc import Mapping

from mae_hydra.types import Progress, Request


class GoodEnough:
    """Ends training once `monitor` has reached `target` in `times` evaluations in a row, and saves at the first.

    `mode`: max, where more is better (mIoU), or min (a loss).

    A `Callback` of mae_hydra.types. It gets no model and no gradient: what it does not ask for stays as it is. An error
    of it ends the run, saved; who talks to a server, and may fail, is rather a tracker.
    """

    def __init__(self, *, monitor: str, mode: str, target: float, times: int) -> None:
        self.monitor, self.mode, self.target, self.times = monitor, mode, target, times
        self.in_a_row = 0

    def on_progress(self, progress: Progress) -> Request | None:
        """Called where something was logged or evaluated; where a run begins or goes on with nothing new."""
        measured = self.monitor in progress.new
        if measured:
            value = progress.new[self.monitor]
            reached = value >= self.target if self.mode == "max" else value <= self.target
            self.in_a_row = self.in_a_row + 1 if reached else 0
        if self.in_a_row >= self.times:
            return Request(stop=f"{self.monitor} has reached {self.target:g} in {self.times} evaluations in a row")
        return Request(save=measured and self.in_a_row == 1)

    def state_dict(self) -> dict[str, int]:
        """What a run that goes on must know: in every checkpoint, as JSON holds it."""
        return {"in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.in_a_row = state["in_a_row"]
