"""A whole training run in milliseconds: a small real model, stream, evaluator, schedule. A script too: see the end."""

import math
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_hydra.engine import (
    Callbacks,
    Checkpoints,
    EarlyStopping,
    Settings,
    State,
    Twin,
    cut_batch,
    fit,
    moving_average,
    wrap,
)
from mae_hydra.seeds import generator, seed_device
from mae_hydra.tracking import LocalFiles, Trackers
from mae_hydra.types import Batch, Evaluation, Loss

IGNORED = 255


class TinySegmenter(nn.Module):
    """Three classes from one channel. Its loss counts labelled pixels, of which images have very different numbers."""

    num_depths = 2

    def __init__(self, *, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Conv2d(6, 3, 1)

    def depth_of(self, name: str) -> int:
        return 0 if name.startswith("features") else 1

    def forward(self, images: Tensor) -> Tensor:
        images = images.to(self.features.weight.dtype) / 255
        return self.classify(self.dropout(F.gelu(self.norm(self.features(images)))))

    def loss(self, batch: Batch) -> Loss:
        labels = batch.labels.long()
        total = F.cross_entropy(self(batch.images).to(labels.device), labels, ignore_index=IGNORED, reduction="sum")
        return Loss(total, (labels != IGNORED).sum(), {"doubled": 2 * total.detach()})


def images_of(step: int, count: int = 8, seed: int = 0) -> Batch:
    """Eight images of 8 x 8; the share of ignored pixels runs from all to none."""
    rng = generator(seed, "tiny", step)
    images = torch.from_numpy(rng.integers(0, 256, (count, 1, 8, 8), dtype="uint8"))
    labels = torch.from_numpy(rng.integers(0, 3, (count, 8, 8), dtype="uint8"))
    for number in range(count):
        labels[number].view(-1)[: 64 - 64 * number // (count - 1)] = IGNORED
    return Batch(images, labels, torch.arange(count))


class TinyStream:
    """Each step's eight images, cut into micro-batches. `at(step)` is called before the first, `within` the others."""

    steps_per_epoch = 4.0

    def __init__(
        self,
        micro_batch: int,
        at: Callable[[int], None] = lambda step: None,
        within: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.micro_batch, self.at, self.within = micro_batch, at, within

    def batches(self, start_step: int) -> Iterator[Batch]:
        step = start_step
        while True:
            whole = images_of(step)
            for begin in range(0, len(whole), self.micro_batch):
                (self.within if begin else self.at)(step)
                part = slice(begin, begin + self.micro_batch)
                yield Batch(whole.images[part], whole.labels[part], whole.index[part])
            step += 1


def stop_at(wanted: int, number: signal.Signals = signal.SIGTERM) -> Callable[[int], None]:
    """A signal, sent by the system to this very process, once."""
    sent = []

    def at(step: int) -> None:
        if step == wanted and not sent:
            sent.append(step)
            signal.raise_signal(number)

    return at


class TinyEvaluator:
    """Loss on fixed images; draws random numbers, as a careless evaluator might. `at(step)` is called in the middle."""

    def __init__(self, every: int, at: Callable[[int], None] = lambda step: None) -> None:
        self.every, self.at, self.seen = every, at, []

    def due(self, step: int, total_steps: int) -> bool:
        return step % self.every == 0 or step == total_steps

    def run(self, model: nn.Module, step: int) -> Evaluation:
        self.seen.append((step, model.training, torch.is_grad_enabled()))
        self.at(step)
        loss = model.loss(images_of(0, seed=1))
        return Evaluation({"loss": (loss.total / loss.count).item(), "noise": torch.rand(()).item()})


@dataclass(frozen=True)
class TinySchedule:
    steps: int

    def factor(self, step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / self.steps))


class Remembers:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def start(self, run_dir: Any, config: Mapping[str, Any], step: int) -> None:
        self.told.append(("start", step))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.told.append(("scalars", step, dict(values)))

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        self.told.append(("evaluation", step, name))

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        self.told.append(("finish", state))


def settings(**changes: Any) -> Settings:
    values = {
        "device": "cpu",
        "precision": "fp32",
        "devices": 1,
        "parallel": "ddp",
        "global_batch": 8,
        "clip_grad": None,
        "nonfinite_limit": 5,
        "ema_decay": None,
        "compile": False,
        "recompute": False,
        "log_every": 4,
        "profile_steps": None,
        "deterministic": False,
    }
    return Settings(**(values | changes))


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for _, p in pairs], "names": [n for n, _ in pairs], "initial_lr": lr, "weight_decay": 0.05}
        for lr, pairs in (
            (1e-2, [(n, p) for n, p in model.named_parameters() if p.ndim > 1]),
            (5e-3, [(n, p) for n, p in model.named_parameters() if p.ndim <= 1]),
        )
    ]
    return torch.optim.AdamW(groups, fused=True)


@dataclass
class Run:
    """One call of `fit` in a directory; calling it again, or another one in the same directory, resumes."""

    run_dir: Path
    steps: int = 12
    micro_batch: int = 4
    every: int | None = 5
    at: Callable[[int], None] = lambda step: None
    within: Callable[[int], None] = lambda step: None
    evaluators: Mapping[str, Any] = field(default_factory=lambda: {"tiny": TinyEvaluator(3)})
    tracker: Any = None
    settings: Settings = field(default_factory=settings)
    monitor: str = "val/loss"
    background: bool = True
    callbacks: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> dict[str, float]:
        seed_device(0, "init")
        model = TinySegmenter(dropout=0.3, norm=True)
        twin = Twin(model) if self.settings.sharded else None
        average = moving_average(model, self.settings.ema_decay)
        forward = wrap(model, self.settings, average)
        self.state = State(model, adamw(model), self.settings.scaler(), average, twin)
        stopping = {}
        if self.settings.stop_after is not None:
            stopping["engine.stop_after"] = EarlyStopping(monitor=self.monitor, patience=self.settings.stop_after)
        self.state.callbacks = Callbacks({**self.callbacks, **stopping})
        self.checkpoints = Checkpoints(
            self.run_dir / "checkpoints",
            every=self.every,
            keep_last=2,
            keep_every=None,
            save_best=True,
            monitor=self.monitor,
            mode="min",
            background=self.background,
        )
        self.checkpoints.restore(self.state)
        return fit(
            self.state,
            forward,
            TinyStream(self.micro_batch, self.at, self.within),
            TinySchedule(self.steps),
            self.evaluators,
            self.checkpoints,
            self.tracker or Trackers([LocalFiles()]),
            self.settings,
            cut=cut_batch(8, self.micro_batch, 1),
            seed=7,
            run_dir=self.run_dir,
            config={"seed": 7},
            meta={"class_names": ["a", "b", "c"]},
        )


if __name__ == "__main__":  # trains for ever and says so, to be interrupted from outside
    run = Run(Path(sys.argv[1]), steps=10**9, every=None, evaluators={})
    run.at = lambda step: print("training", flush=True) if step == 3 else None
    try:
        run()
    except Exception as error:
        print(error)
        sys.exit(getattr(error, "exit_code", 1))
