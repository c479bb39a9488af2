"""`last.pt` for going on and `best.pt` by a monitored metric, written so that no crash can harm them.

A checkpoint is a dictionary of tensors, numbers, strings, lists and dictionaries: `torch.load(weights_only=True)` reads
it. It holds no state of any random generator, because there is none to hold (see `mae_hydra.seeds`).
"""

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mae_hydra import atomic
from mae_hydra.distributed import barrier, is_main
from mae_hydra.engine.state import State
from mae_hydra.errors import UserError


class Checkpoints:
    """Saves and restores a `State` in `directory`.

    `every`: steps between saves, None for the end of the run only. `monitor`: the scalar ("val/mIoU") by which best.pt
    is chosen, `mode`: whether its "max" or "min" is best. `config` (resolved) and `meta` (what a reader of the model
    needs, class names say) go into every checkpoint; `fit` sets them.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        every: int | None,
        save_best: bool,
        monitor: str,
        mode: str,
    ) -> None:
        if every is not None and every < 1:
            raise ValueError(f"every must be at least 1 step, or null for the end of the run only, got {every}")
        if mode not in ("max", "min"):
            raise ValueError(f"mode must be max or min, got {mode!r}")
        self.directory = Path(directory)
        self.last_path, self.best_path = self.directory / "last.pt", self.directory / "best.pt"
        self.every, self.save_best, self.monitor, self.sign = every, save_best, monitor, 1 if mode == "max" else -1
        self.best: dict[str, Any] | None = None  # {"value", "step"} of the best evaluation so far
        self.config: Mapping[str, Any] = {}
        self.meta: Mapping[str, Any] = {}

    def due(self, step: int) -> bool:
        return self.every is not None and step % self.every == 0

    def improves(self, step: int, found: Mapping[str, float]) -> bool:
        """Take note of an evaluation's scalars; True if the monitored one is the best so far."""
        value = found.get(self.monitor, math.nan)
        if math.isnan(value) or (self.best is not None and self.sign * (value - self.best["value"]) <= 0):
            return False
        self.best = {"value": value, "step": step}
        return self.save_best

    def save(self, state: State, *, is_best: bool = False) -> None:
        """Write last.pt, and best.pt too where `is_best`. All processes call it, the main one writes."""
        if is_main():
            self.write(state, is_best=is_best)
        barrier()

    def write(self, state: State, *, is_best: bool = False) -> None:
        """`save` for the main process alone: waits for no other, which may be gone."""
        self.directory.mkdir(parents=True, exist_ok=True)
        temporary = self.directory / ".last.pt.partial"
        temporary.unlink(missing_ok=True)  # of a crash; writing into it could write into a best.pt linked to it
        with open(temporary, "wb") as file:
            torch.save(self._content(state), file)
            file.flush()
            os.fsync(file.fileno())
        if is_best:  # first: last.pt must not name a best that is not there yet
            _link(temporary, self.best_path)
        os.replace(temporary, self.last_path)
        atomic.sync(self.directory)

    def _content(self, state: State) -> dict[str, Any]:
        return {
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "scaler": state.scaler.state_dict(),
            "step": state.step,
            "evaluated": state.evaluated,
            "window": state.window.sums,
            "metrics": state.metrics,
            "best": self.best,
            "config": dict(self.config),
            "meta": dict(self.meta),
        }

    def restore(self, state: State) -> bool:
        """Make `state` what it was when last.pt was written, bit for bit; False if there is no last.pt."""
        if not self.last_path.is_file():
            return False
        content = read_checkpoint(self.last_path)
        try:
            state.model.load_state_dict(content["model"])
            _check_names(state.optimizer, content["optimizer"])
            state.optimizer.load_state_dict(content["optimizer"])
            state.scaler.load_state_dict(content["scaler"])
            state.step, state.evaluated, state.metrics = content["step"], content["evaluated"], content["metrics"]
            device = next(state.model.parameters()).device
            state.window.sums = {name: value.to(device) for name, value in content["window"].items()}
            self.best = content["best"]
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{self.last_path} does not fit this run ({reason}); "
                "resume with the configuration it was written with, or start anew with resume=never"
            ) from error
        return True


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint of this engine, on the CPU; a UserError for anything that is not a whole one."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}); "
            f"put a whole one in its place (best.pt is one too), or start anew with resume=never"
        ) from error
    if not isinstance(content, dict) or not {"model", "optimizer", "step"} <= content.keys():
        raise UserError(f"{path} is no checkpoint of a training run: it must hold model, optimizer and step")
    return content


def _check_names(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """torch matches the optimizer's state by position only: another order would be loaded without a word."""
    ours = [group.get("names") for group in optimizer.param_groups]
    theirs = [group.get("names") for group in saved["param_groups"]]
    if ours != theirs:
        raise ValueError("its optimizer holds other parameter groups")


def _link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, atomically; a copy where the file system has no hard links."""
    temporary = target.with_name(f".{target.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
