"""`starts.jsonl`: one line for every start of a run, from which step it went on and with how many processes.

Which start has computed a step is the last one in the file that began before it: every start computes anew what comes
after the checkpoint that it goes on from.
"""

import json
from collections.abc import Mapping
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
    found = None
    path = run_dir / "starts.jsonl"
    for text in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            if line["step"] < step:
                found = line
        except (ValueError, KeyError, TypeError):  # torn by a kill
            continue
    return found
