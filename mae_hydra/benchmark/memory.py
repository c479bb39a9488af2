"""The most memory that a stretch of work needed at once: of the accelerator where there is one, else of the process."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

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


def kept_bytes(call: Callable[[], object]) -> int:
    """Bytes of all that a forward pass in `call` keeps for its backward pass, parameters aside, each storage once."""
    found: dict[int, int] = {}
    alive: list[Any] = []  # so that no storage's number is given away twice

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not any(isinstance(each, nn.Parameter) for each in (tensor, tensor._base)):
            storage = tensor.untyped_storage()
            found[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        call()
    return sum(found.values())


def _resident(what: str) -> int | None:
    try:
        found = re.search(rf"{what}:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return None
    return None if found is None else 1024 * int(found[1])
