"""Which steps a run has taken, by whom, and what it wrote down of them.

`starts.jsonl` has one line for every start: from which step it went on and with how many processes. Which start has
computed a step is the last one in the file that began before it: every start computes anew what comes after the
checkpoint that it goes on from.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mae_hydra.distributed import world_size
from mae_hydra.engine import Settings


def note_start(run_dir: Path, step: int, settings: Settings, facts: Mapping[str, Any]) -> None:
    """Add the line of this start, which goes on after `step` finished steps with the images of `facts`."""
    line = {
        "step": step,
        "processes": world_size(),
        "threads": torch.get_num_threads(),
        "device": settings.torch_device.type,
        "data": {key: facts[key] for key in ("root", "steps_per_epoch", "train")},
    }
    with open(run_dir / "starts.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")


def start_of(run_dir: Path, step: int) -> dict[str, Any] | None:
    """The start that computed the update after which `step` steps were finished; None where none is noted."""
    starts = [line for line in _lines(run_dir / "starts.jsonl") if line["step"] < step]
    return starts[-1] if starts else None


def metrics_of(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that can be read."""
    return list(_lines(run_dir / "metrics.jsonl"))


def recorded_loss(run_dir: Path, step: int) -> float | None:
    """The loss that metrics.jsonl has of this step alone (nan where it was not finite); None where a line is of several
    steps, or there is none."""
    before = 0
    for line in metrics_of(run_dir):
        if "train/loss" not in line:
            continue
        if line["step"] == step:
            loss = line["train/loss"]
            return None if before != step - 1 else math.nan if loss is None else float(loss)
        before = line["step"]
    return None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that tell of a step; one that a kill has torn tells of none."""
    for text in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line
