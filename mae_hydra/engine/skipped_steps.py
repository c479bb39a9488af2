"""Steps that teach nothing: those whose gradient is not finite change nothing, and here it is written down which
images they had; those in which nothing counted have no gradient. Too many of either end the run, and so does a nan."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mae_hydra.distributed import rank
from mae_hydra.engine.log_window import StepResult
from mae_hydra.errors import UserError
from mae_hydra.lines import GrowingFile

UNLABELLED = (
    "every label was the ignored one. Compare the labels with data.num_classes, data.reduce_zero_label and "
    "data.ignore_index: mae-hydra check-data"
)
SHORT = 5  # steps of a window in which it may be chance that nothing was labelled


class SkippedSteps:
    """`nonfinite.jsonl` in `run_dir`, a line for every skipped step: {"step": 12, "images": [3, 1]}; of each process
    after the first in a file of its own. More than `limit` in a row end the training, and so do `log_every` steps in
    which nothing counted."""

    def __init__(self, run_dir: Path, limit: int, log_every: int) -> None:
        self.path = run_dir / ("nonfinite.jsonl" if rank() == 0 else f"nonfinite.rank{rank()}.jsonl")
        self._file = GrowingFile.behind(self.path)
        self.limit, self.in_a_row = limit, 0
        # The first line of a log is of one step, the second of one fewer; a few steps alone may have no label.
        self.most_uncounted = log_every - 1 if log_every >= SHORT else 2 * SHORT
        self.seen = self.uncounted = 0
        self._pending: list[tuple[int, Tensor, list[Tensor | None]]] = []

    def add(self, step: int, result: StepResult) -> None:
        """Note a step without waiting for the device; that happens once in `limit` steps."""
        self.seen += 1
        self._pending.append((step, result.grad_norm.isfinite(), result.images))
        if len(self._pending) >= self.limit:
            self.read()

    def read(self) -> None:
        """Look at what has been noted; a UserError where training has diverged."""
        if not self._pending:
            return
        finite = torch.stack([flag for _, flag, _ in self._pending]).tolist()
        for (step, _, images), good in zip(self._pending, finite, strict=True):
            self.in_a_row = 0 if good else self.in_a_row + 1
            if not good:
                indices = [index for part in images if part is not None for index in part.tolist()]
                self._file.add(json.dumps({"step": step, "images": indices}).encode() + b"\n")
        last = self._pending[-1][0]
        self._pending = []
        if self.in_a_row >= self.limit:
            raise UserError(
                f"the gradient was not finite in {self.in_a_row} steps in a row, up to step {last}; {self.path} names "
                "their images. Use a smaller learning rate or a longer warm-up, engine.clip_grad=1.0, or "
                "engine.precision=bf16 or fp32; start from the last good weights with init_from="
            )

    def counted(self, step: int, logged: Mapping[str, float]) -> None:
        """Look at what a line of the log says of its steps; a UserError where nothing has counted for too long."""
        steps = logged.get("train/uncounted_steps")
        self.uncounted = 0 if steps is None else self.uncounted + round(steps)
        if self.uncounted >= self.most_uncounted:
            raise UserError(f"nothing counted in the loss of {self.uncounted} steps up to step {step}: {UNLABELLED}")

    def end(self, metrics: Mapping[str, float], monitor: str) -> None:
        """A UserError where the run would be called complete though it has trained nothing, or ends with a nan."""
        self.read()
        if self.seen and self.uncounted >= self.seen:
            raise UserError(f"nothing counted in the loss of any of {self.seen} steps: {UNLABELLED}")
        for name in ("train/loss", monitor):
            if math.isnan(metrics.get(name, 0.0)):
                raise UserError(
                    f"the run ends with {name} = nan, which is no result; its last state is saved. "
                    f"If the loss diverged, see {self.path}; if nothing was labeled: {UNLABELLED}"
                )
