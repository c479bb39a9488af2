"""Steps whose gradient was not finite: they change nothing, and here it is written down which images they had."""

import json
from pathlib import Path

import torch
from torch import Tensor

from mae_hydra.distributed import rank
from mae_hydra.engine.window import StepResult
from mae_hydra.errors import UserError
from mae_hydra.lines import GrowingFile


class Nonfinite:
    """`nonfinite.jsonl` in `run_dir`, a line for every skipped step: {"step": 12, "images": [3, 1]}; of each process
    after the first in a file of its own. More than `limit` in a row end the training."""

    def __init__(self, run_dir: Path, limit: int) -> None:
        self.path = run_dir / ("nonfinite.jsonl" if rank() == 0 else f"nonfinite.rank{rank()}.jsonl")
        self._file = GrowingFile.behind(self.path)
        self.limit, self.in_a_row = limit, 0
        self._pending: list[tuple[int, Tensor, list[Tensor | None]]] = []

    def add(self, step: int, result: StepResult) -> None:
        """Note a step without waiting for the device; that happens once in `limit` steps."""
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
