"""Where and how precisely to compute: the engine's part of the configuration, checked and resolved."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from mae_hydra.distributed import local_rank, world_size
from mae_hydra.errors import UserError
from mae_hydra.precision import PRECISIONS_ELSEWHERE, Precision, computing, resolved
from mae_hydra.products import faster, take

Device = Literal["auto", "cpu", "cuda"]
Parallel = Literal["ddp", "fsdp"]
BatchNorm = Literal["micro", "step"]
ELSEWHERE = {"gpu": "cuda"} | PRECISIONS_ELSEWHERE  # their words
AT_LEAST_ONE = ("global_batch", "nonfinite_limit", "log_every", "profile_steps", "stop_after")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the engine is told; `torch_device`, `resolved_precision`, `sharded`, `autocast()` are what follows from it.

    `device` "auto" is CUDA where there is one. `precision` "auto": see `precision.resolved`.
    `global_batch`: images per optimizer step over all processes. `parallel`: "ddp" has the whole model in every
    process, "fsdp" a share of it. `clip_grad`: largest norm of the whole gradient, None for no clipping.
    `nonfinite_limit`: stop after so many steps in a row whose gradient is not finite. `ema_decay`: keep a moving
    average of the weights and evaluate that, None for none; `moving_average` has its formula. `recompute`: blocks
    keep only their input and are computed once more in the backward pass (activation checkpointing). `batch_norm`:
    takes its statistics from a "micro"-batch of all processes, or from all images of a "step" (see `loss_of_a_step`).
    `log_every`: steps. `profile_steps`: how many steps to record (see `profiling`), None for none. `deterministic`:
    as repeatable as the device's kernels allow; torch warns of those that are not. `stop_after`: end after so many
    evaluations without a better value of the monitored metric, None for never.
    """

    device: str
    precision: str
    devices: int | str
    parallel: str
    global_batch: int
    clip_grad: float | None
    nonfinite_limit: int
    ema_decay: float | None
    compile: bool
    recompute: bool
    log_every: int
    profile_steps: int | None
    deterministic: bool
    batch_norm: str = "micro"
    stop_after: int | None = None

    def __post_init__(self) -> None:
        choices = {"device": Device, "precision": Precision, "parallel": Parallel, "batch_norm": BatchNorm}
        for name, kinds in choices.items():
            if (got := getattr(self, name)) not in get_args(kinds):
                hint = f"; did you mean {ELSEWHERE[got]}?" if ELSEWHERE.get(got) in get_args(kinds) else ""
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}, got {got!r}{hint}")
        if (self.precision, self.parallel) == ("bf16_params", "fsdp"):
            raise ValueError("precision=bf16_params is for models that are not sharded; use engine.precision=bf16")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device is cuda, but torch finds no CUDA device; use engine.device=auto or cpu")
        if self.devices != "auto" and (not isinstance(self.devices, int) or self.devices < 1):
            raise ValueError(f"devices must be a number of processes from 1, or auto, got {self.devices!r}")
        if self.clip_grad is not None and not self.clip_grad > 0:
            raise ValueError(f"clip_grad must be positive, or null for no clipping, got {self.clip_grad}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1), or null for no average, got {self.ema_decay}")
        for name in AT_LEAST_ONE:
            if (number := getattr(self, name)) is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")

    @property
    def torch_device(self) -> torch.device:
        """The device of this process."""
        if self.device == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", local_rank())

    @property
    def resolved_precision(self) -> str:
        """What "auto" stands for without a model; `settled` has what it stands for with one."""
        return resolved(self.precision, self.torch_device.type)

    def settled(self, weights: Iterable[torch.Tensor], recorded: str | None = None) -> "Settings":
        """The same with the precision in which a model with these weights computes, or a run has begun (`recorded`)."""
        auto = self.precision == "auto" and recorded
        return replace(self, precision=auto or resolved(self.precision, self.torch_device.type, weights))

    @property
    def sharded(self) -> bool:
        """Whether each process keeps a share of the model only."""
        return self.parallel == "fsdp" and world_size() > 1

    def autocast(self) -> torch.autocast:
        """The context in which models compute; parameters, their gradients and the optimizer stay in fp32."""
        return computing(self.resolved_precision, self.torch_device.type)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, without which small gradients vanish in fp16; does nothing in the other precisions."""
        return torch.amp.GradScaler(self.torch_device.type, enabled=self.resolved_precision == "fp16")

    def check_world(self, world_size: int) -> None:
        """Refuse what was declared for another number of processes; under torchrun a declared 1 means nothing."""
        if self.devices not in ("auto", 1, world_size):
            raise UserError(
                f"engine.devices is {self.devices}, but there are {world_size} processes; "
                f"start torchrun with --nproc_per_node={self.devices}, or leave torchrun out"
            )

    def apply(self) -> None:
        """Set torch's process-wide switches; before anything runs on the device."""
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic, warn_only=True)
        torch.backends.cudnn.benchmark = not self.deterministic
        take(faster(self.torch_device.type))
