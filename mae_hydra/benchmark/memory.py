"""The most memory that a stretch of work needed at once: of the accelerator where there is one, else of the process."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """`with PeakMemory(device) as peak: …` and then `peak.bytes` and `peak.added`, None where it cannot be told.

    `added`: above what was in use when the work began (CUDA only: elsewhere freed memory stays with the process).

    On CUDA what torch had allocated, as published memory columns count it; on the CPU the resident set of the process,
    interpreter and libraries included (Linux).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._before: int | None = None

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            with suppress(OSError):  # then it is that of the whole process
                RESET.write_text("5")  # the high-water mark starts anew
        return self

    @property
    def added(self) -> int | None:
        return None if self.bytes is None or self._before is None else self.bytes - self._before

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _resident("VmHWM")


class SavedStorages:
    """Storages that autograd keeps for the backward pass, parameters and those of `model` aside, each once."""

    def __init__(self, model: nn.Module | None = None) -> None:
        self._own = {parameter.untyped_storage()._cdata for parameter in model.parameters()} if model else set()
        self._sizes: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []  # so that no storage's number is given away twice

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        of_parameter = any(isinstance(owner, nn.Parameter) for owner in (tensor, tensor._base))
        if storage._cdata not in self._own and not of_parameter:
            self._sizes[storage._cdata] = storage.nbytes()
            self._alive.append(tensor)
        return tensor

    def noting(self) -> saved_tensors_hooks:
        return saved_tensors_hooks(self.note, lambda tensor: tensor)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(self._sizes.values())


def kept_bytes(call: Callable[[], object]) -> int:
    """Bytes of all that a forward pass in `call` keeps for its backward pass, parameters aside."""
    kept = SavedStorages()
    with kept.noting():
        call()
    return kept.size


def _resident(what: str) -> int | None:
    try:
        match = re.search(rf"{what}:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return None
    return None if match is None else 1024 * int(match[1])
