"""A tracker: where numbers and pictures of a run go, besides its own files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_hydra.types import Evaluation


class Diary:
    """A line for each evaluation and for the end, in `diary.jsonl` of the run: a `Tracker` of mae_hydra.types.

    One that raises is dropped with a warning, and the training goes on.
    """

    def start(self, run_dir: str | Path, config: Mapping[str, Any], step: int) -> None:
        """`step`: how many are finished; more than none where a run goes on."""
        self.file = Path(run_dir) / "diary.jsonl"
        self._write({"started": step})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The loss, the learning rate and the speed, every engine.log_every steps."""

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        """`evaluation` has `scalars`, `pictures` and `tables`, each by name."""
        self._write({"step": step, "evaluation": name, **evaluation.scalars})

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        """`state`: completed, interrupted or failed."""
        self._write({"finished": state})

    def _write(self, line: Mapping[str, Any]) -> None:
        with open(self.file, "a") as file:
            file.write(json.dumps(line) + "\n")
