"""Pruning: a job of a sweep that is worse than the others were at the same step is given up.

The jobs need no study in common and no server: each reads what the others have written into their `metrics.jsonl`, so
it works for grids and searches, under every launcher, on every file system that the sweep's directory lies on.
"""

from pathlib import Path

import numpy as np

from mae_hydra.errors import UserError
from mae_hydra.lines import of_a_step, read_marked
from mae_hydra.types import Progress, Request

METRICS, SWEEP = "metrics.jsonl", "multirun.yaml"  # the second lies in the directory of every sweep


class Pruning:
    """Gives a job up whose best `monitor` so far is not among the best `keep` (a share) of the jobs at the same step.

    The median stopping rule (Golovin et al., Google Vizier, 2017) at `keep` 0.5. Of every other job counts the best
    value up to that step, where it has come as far, also of one that trains or was given up later. Nothing is given up
    before `warmup_steps` steps, nor while fewer than `min_runs` others have come as far.
    """

    def __init__(self, *, monitor: str, mode: str, keep: float, min_runs: int, warmup_steps: int) -> None:
        if not 0 < keep < 1 or min_runs < 1:
            raise UserError(f"callbacks.pruning: keep must lie in (0, 1) and min_runs be 1 or more: {keep}, {min_runs}")
        self.monitor, self.sign = monitor, {"min": 1.0, "max": -1.0}[mode]  # times sign: less is better
        self.keep, self.min_runs, self.warmup_steps = keep, min_runs, warmup_steps
        self.judged = -1  # the step that was judged last: where a run goes on there, it is judged again

    def on_progress(self, progress: Progress) -> Request | None:
        sweep = progress.run_dir.absolute().parent
        if not (sweep / SWEEP).is_file():
            raise UserError(f"it compares the jobs of a sweep (-m), and {progress.run_dir} is a single run")
        again = not progress.new and self.judged == progress.step
        value = progress.latest.get(self.monitor) if again else progress.new.get(self.monitor)
        if value is None or progress.step < self.warmup_steps or progress.step >= progress.total_steps:
            return None
        self.judged = progress.step
        own, _ = self._values(progress.run_dir, progress.step)
        others = [
            min(found)
            for job in sorted(file.parent for file in sweep.glob(f"*/{METRICS}"))
            for found, reached in [self._values(job, progress.step)]
            if job.name != progress.run_dir.name and found and reached
        ]
        if len(others) < self.min_runs:
            return None
        best, limit = min([self._comparable(value), *own]), float(np.quantile(others, self.keep, method="higher"))
        if best <= limit:
            return None
        figures = f"{self.monitor} {self.sign * best:.4g} is worse than {self.sign * limit:.4g}"
        return Request(stop=f"{figures}, what the best {self.keep:.0%} of {len(others)} others had", given_up=True)

    def _values(self, job: Path, step: int) -> tuple[list[float], bool]:
        """The values of a job up to `step`, and whether it has come as far."""
        rows = read_marked(job / METRICS, f'"{self.monitor}"'.encode(), of_a_step)
        found = [row[self.monitor] for row in rows if self.monitor in row and row["step"] <= step]
        return list(map(self._comparable, found)), bool(rows) and rows[-1]["step"] >= step

    def _comparable(self, value: float | None) -> float:
        return float("inf") if value is None or np.isnan(value) else self.sign * float(value)  # null stands for NaN

    def state_dict(self) -> dict[str, int]:
        return {"judged": self.judged}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.judged = state["judged"]
