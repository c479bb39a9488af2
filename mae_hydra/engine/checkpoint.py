"""Checkpoints that no crash can harm: the newest few, milestones, and the best by a monitored metric.

A checkpoint is a dictionary of tensors, numbers, strings, lists and dictionaries: `torch.load(weights_only=True)` reads
it. It holds no state of any random generator, because there is none to hold (see `mae_hydra.seeds`).
"""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mae_hydra.archive import read_training_state
from mae_hydra.distributed import barrier, broadcast_object, is_main
from mae_hydra.engine.checkpoint_writer import Writer
from mae_hydra.engine.sharding import gather_full, is_sharded, shard_optimizer_state, shard_tensors
from mae_hydra.engine.state import State
from mae_hydra.errors import UserError, short

log = logging.getLogger("mae_hydra")

STEP_FILE = re.compile(r"step-(\d+)\.pt")


class Checkpoints:
    """Saves and restores a `State` in `directory`: step-00000500.pt, last.pt (the newest one), best.pt.

    `every`: steps between saves, None for the end of the run only. `keep_last`: so many of the newest are kept, to go
    back to should the last be damaged; `keep_every`: those of every so many steps stay for good, None for none.
    `save_best`, `monitor`, `mode`: best.pt is the one with the "max" or "min" of that scalar ("val/mIoU").
    `background`: files are written while training goes on. `config` (resolved) and `meta` (what a reader of the model
    needs, class names say) go into every checkpoint; `fit` sets them.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        every: int | None,
        keep_last: int,
        keep_every: int | None,
        save_best: bool,
        monitor: str,
        mode: str,
        background: bool,
    ) -> None:
        if every is not None and every < 1:
            raise ValueError(f"every must be at least 1 step, or null for the end of the run only, got {every}")
        if keep_last < 1:
            raise ValueError(f"keep_last must be at least 1, got {keep_last}")
        if keep_every is not None and (keep_every < 1 or every is None or keep_every % every):
            raise ValueError(f"keep_every must be a multiple of every ({every}), or null for none, got {keep_every}")
        if mode not in ("max", "min"):
            raise ValueError(f"mode must be max or min, got {mode!r}")
        self.directory = Path(directory)
        self.last_path, self.best_path = self.directory / "last.pt", self.directory / "best.pt"
        self.every, self.keep_last, self.keep_every = every, keep_last, keep_every
        self.save_best, self.monitor, self.sign = save_best, monitor, 1 if mode == "max" else -1
        self.best: dict[str, Any] | None = None  # {"value", "step"} of the best evaluation so far
        self.config: Mapping[str, Any] = {}
        self.meta: Mapping[str, Any] = {}
        self._writer = Writer(background=background)
        self._best_on_disk: dict[str, Any] | None = None

    @property
    def exist(self) -> bool:
        """Whether there is something to restore."""
        return bool(self._candidates())

    def due(self, step: int) -> bool:
        return self.every is not None and step % self.every == 0

    def improves(self, step: int, scalars: Mapping[str, float]) -> bool:
        """Take note of an evaluation's scalars; True if the monitored one is the best so far."""
        value = scalars.get(self.monitor, math.nan)
        better = self.best is None or self.sign * (value - self.best["value"]) > 0
        # The main process decides: it alone knows of a former best that could not be written.
        if math.isnan(value) or not broadcast_object(better):
            return False
        self.best = {"value": value, "step": step}
        return self.save_best

    def save(self, state: State, *, is_best: bool = False, last: bool = False) -> None:
        """Save, best.pt too where `is_best`. All processes call it, the main one writes.

        A file that cannot be written (a full disk) is said, and training goes on with the former one whole; unless it
        is the `last` of this start, when nothing comes after it: then the OSError is raised.
        """
        content = gather_full(self._content(state))
        if is_main():
            self._begin(state.step, content, is_best)
            if last:
                self._end(raising=True)
        if last:
            barrier()

    def close(self) -> None:
        """Wait for the file under way, whatever becomes of it."""
        self._end(raising=False)

    def write(self, state: State) -> None:
        """`save` for the main process alone: waits for no other, which may be gone, and with it its shares."""
        if is_sharded(state.model):
            log.warning("step %d cannot be saved without the other processes' shares of the weights", state.step)
            return
        self._begin(state.step, self._content(state), is_best=False)
        self._end(raising=True)

    def restore(self, state: State) -> bool:
        """Make `state` what it was when it was last saved, bit for bit; False if there is no checkpoint.

        A damaged file is passed over for the one before it, with a warning; UserError where none can be read.
        """
        candidates = self._candidates()
        for path in candidates:
            try:
                content = read_training_state(path)
            except UserError as error:
                if path == candidates[-1]:
                    raise
                log.warning("%s; going back to the checkpoint before it", str(error).partition(";")[0])
                if is_main():
                    print(f"warning: {path} is damaged; going back to the checkpoint before it", flush=True)
                continue
            self.fill(state, content, path)
            return True
        return False

    def fill(self, state: State, content: Mapping[str, Any], path: Path) -> None:
        """Make `state` what it was when `content`, which `path` holds, was saved."""
        try:
            state.model.load_state_dict(shard_tensors(content["model"], state.model.state_dict()))
            _check_names(state.optimizer, content["optimizer"])
            state.optimizer.load_state_dict(shard_optimizer_state(content["optimizer"], state.optimizer))
            state.scaler.load_state_dict(content["scaler"])
            state.step, state.evaluated, state.metrics = content["step"], content["evaluated"], content["metrics"]
            device = next(state.model.parameters()).device
            state.window.sums = {name: value.to(device) for name, value in content["window"].items()}
            if state.average is not None:
                average = state.average.module
                average.load_state_dict(shard_tensors(content["average"]["model"], average.state_dict()))
                state.average.n_averaged.fill_(content["average"]["updates"])
            self.best = self._best_on_disk = content["best"]
            before = {"engine.stop_after": {"since_best": content.get("since_best", 0)}}  # as of earlier versions
            state.callbacks.load_state_dict(content.get("callbacks", before))
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            reason = short((str(error).splitlines() or [""])[0])
            raise UserError(
                f"{path} does not fit this run ({reason}); "
                "resume with the configuration it was written with, or start anew with resume=never"
            ) from error

    def _candidates(self) -> list[Path]:
        """What may be gone on from, the newest first, each file once."""
        numbered = sorted(self._numbered(), reverse=True)
        files = [self.last_path, *(path for _, path in numbered), self.best_path]
        candidates: dict[tuple[int, int], Path] = {}
        for path in files:
            if path.is_file():
                candidates.setdefault((path.stat().st_dev, path.stat().st_ino), path)
        return list(candidates.values())

    def _numbered(self) -> list[tuple[int, Path]]:
        if not self.directory.is_dir():
            return []
        matches = ((STEP_FILE.fullmatch(path.name), path) for path in self.directory.iterdir())
        return [(int(match[1]), path) for match, path in matches if match]

    def _begin(self, step: int, content: dict[str, Any], is_best: bool) -> None:
        """Wait for the former file, note what became of it, and give the next one to the writer."""
        self._end(raising=False)
        own = self.directory / f"step-{step:08d}.pt"
        links = [self.best_path, own, self.last_path] if is_best else [own, self.last_path]  # last.pt names the best
        self._pending = (step, self.best)
        self._writer.begin(content, links)

    def _end(self, *, raising: bool) -> None:
        """Wait for the file under way; then the older ones may go."""
        if not self._writer.busy:
            return
        step, best = self._pending
        error = self._writer.end()
        if error is None:
            self._best_on_disk = best
            self._prune(step)
            return
        self.best = self._best_on_disk  # so that the next good one is a best one again
        sentence = f"the checkpoint of step {step} could not be written to {self.directory} ({error})"
        log.error("%s", sentence)
        if raising:
            raise UserError(f"{sentence}; make room, then start the same command again") from error
        print(f"warning: {sentence}; training goes on, and the former checkpoint is whole", flush=True)

    def _prune(self, newest: int) -> None:
        """Drop what is neither among the newest nor a milestone; and what is of an abandoned future."""
        kept = sorted((step for step, _ in self._numbered() if step <= newest), reverse=True)[: self.keep_last]
        for step, path in self._numbered():
            milestone = self.keep_every is not None and step % self.keep_every == 0 and step <= newest
            if step not in kept and not milestone:
                path.unlink(missing_ok=True)

    def _content(self, state: State) -> dict[str, Any]:
        content: dict[str, Any] = {
            "model": state.model.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "scaler": state.scaler.state_dict(),
            "step": state.step,
            "evaluated": state.evaluated,
            "window": state.window.sums,
            "metrics": state.metrics,
            "best": self.best,
            "callbacks": state.callbacks.state_dict(),
            "config": dict(self.config),
            "meta": dict(self.meta),
        }
        if state.average is not None:
            updates = int(state.average.n_averaged)
            content["average"] = {"model": state.average.module.state_dict(), "updates": updates}
        return content


def _check_names(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """torch matches the optimizer's state by position only: another order would be loaded without a word."""
    of_both = optimizer.param_groups, saved["param_groups"]
    ours, theirs = ([group.get("names") for group in groups] for groups in of_both)
    if ours != theirs:
        raise ValueError("its optimizer holds other parameter groups")
