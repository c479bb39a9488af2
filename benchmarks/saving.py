"""Writing and reading a checkpoint, beside plain torch and the speed of the disk."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from mae_hydra.benchmark.results import Floor, Measured, timing_numbers, timing_table
from mae_hydra.benchmark.timing import alternate
from mae_hydra.engine import Checkpoints, Settings, State


def saving(model: Any, optimizer: torch.optim.Optimizer, settings: Settings, name: str, rounds: int) -> Measured:
    """Of a model and its optimizer after a step, into the working directory's file system."""
    state = State(model, optimizer, settings.scaler())
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # now it has moments to save
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder)
        options: dict[str, Any] = {"every": 1, "keep_every": None, "save_best": False, "monitor": "", "mode": "max"}
        ours = Checkpoints(path / "ours", keep_last=1, background=False, **options)
        behind = Checkpoints(path / "behind", keep_last=1, background=True, **options)
        content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        plain = path / "plain.pt"
        writing = {
            "write (mae_hydra)": lambda: ours.write(state),
            "write, time that training waits": lambda: behind.save(state),
            "write (torch.save, neither flushed nor checked)": lambda: torch.save(content, plain),
        }
        found = alternate(writing, rounds=rounds, warmup=1, device=cpu)
        behind.close()
        size = plain.stat().st_size
        reading = {
            "read (mae_hydra, checksums verified)": lambda: ours.restore(state),
            "read (torch.load and load_state_dict)": lambda: _load(plain, model, optimizer),
        }
        found |= alternate(reading, rounds=rounds, warmup=1, device=cpu)
        flushed = alternate({"": lambda: _write(path / "bytes", size)}, rounds=rounds, warmup=1, device=cpu)[""]
    floor = Floor("as many bytes written and flushed", flushed.median)
    table = timing_table(f"checkpoint of {name}, {size / 1e9:.2f} GB", found, size / 1e6, "MB/s", floor)
    return Measured(table, timing_numbers(name, found, floor) | {"bytes": size})


def _load(path: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    content = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])


def _write(path: Path, size: int) -> None:
    block = bytes(2**22)
    with open(path, "wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
