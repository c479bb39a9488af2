"""Which steps a run has taken, by whom, and what it wrote down of them.

`starts.jsonl` has one line for every start: from which step it went on and with how many processes. Which start has
computed a step is the last one in the file that began before it: every start computes anew what comes after the
checkpoint that it goes on from.
"""

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mae_hydra.configuration.from_file import wrong_kind
from mae_hydra.distributed import is_main, world_size
from mae_hydra.engine import Settings
from mae_hydra.errors import UserError
from mae_hydra.lines import GrowingFile, of_a_step, read_lines

MOST = {"processes": 1 << 16, "threads": 1 << 10}  # of one start
OF_THE_DATA = ("root", "steps_per_epoch", "class_weights", "precision", "products", "train")
A_FEW = 8  # processes that any machine bears


def note_start(run_dir: Path, step: int, settings: Settings, facts: Mapping[str, Any]) -> None:
    """Add the line of this start, which goes on after `step` finished steps with the images of `facts`.

    OSError where the disk does not take it: a step that nobody can tell the start of cannot be taken again.
    """
    line = {
        "step": step,
        "processes": world_size(),
        "threads": torch.get_num_threads(),
        "device": settings.torch_device.type,
        "data": {key: facts.get(key) for key in OF_THE_DATA},
    }
    file = GrowingFile.behind(run_dir / "starts.jsonl")  # over what a kill has left of a line, not beside it
    file.add(json.dumps(line).encode() + b"\n")
    if file.error is not None:
        raise file.error


def start_of(run_dir: Path, step: int) -> dict[str, Any] | None:
    """The start that computed the update after which `step` steps were finished; None where none is noted.

    Lines that cannot be read are said: one of them may have told of it.
    """
    lines = read_lines(run_dir / "starts.jsonl", _of_a_start)
    if lines.damaged and is_main():
        print(
            f"warning: {lines.damaged} damaged line(s) of {run_dir / 'starts.jsonl'} are left out; the start that "
            "computed this step may be another one",
            file=sys.stderr,
        )
    starts = [line for line in lines.rows if line["step"] < step]
    return starts[-1] if starts else None


def processes_of(start: Mapping[str, Any], run_dir: Path) -> int:
    """Count the processes of a start. UserError where they are more than are started because a file says so."""
    count = int(start.get("processes", 1))
    most = max(A_FEW, os.cpu_count() or 1, torch.cuda.device_count())
    if count > most and world_size() == 1:
        raise UserError(
            f"{run_dir / 'starts.jsonl'} tells of {count} processes, and more than {most} are not started on this "
            f"machine because a file says so; where that is right, start them: torchrun --nproc-per-node={count} -m "
            f"mae_hydra replay {run_dir} step=…"
        )
    return count


def metrics_of(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that can be read."""
    return read_lines(run_dir / "metrics.jsonl", lambda row: _counts(row) and of_a_step(row)).rows


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


def _counts(row: Mapping[str, Any]) -> bool:
    step = row.get("step")
    return isinstance(step, int) and not isinstance(step, bool) and step >= 0


def _of_a_start(row: dict[str, Any]) -> bool:
    """Whether `row` is what `note_start` writes; older versions told less."""
    kinds = {"processes": (int,), "threads": (int,), "device": (str,), "data": (dict,)}
    numbers = [(name, row[name]) for name in MOST if name in row]
    return _counts(row) and wrong_kind(row, kinds) is None and all(1 <= value <= MOST[name] for name, value in numbers)
