"""The most memory that a stretch of work needed at once: of the accelerator where there is one, else of the process."""

import re
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """`with PeakMemory(device) as peak: …` and then `peak.bytes`, None where it cannot be told.

    On CUDA what torch had allocated, as published memory columns count it; on the CPU the resident set of the process,
    interpreter and libraries included (Linux).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):  # then it is that of the whole process
                RESET.write_text("5")  # the high-water mark starts anew
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bytes = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _high_water()


def _high_water() -> int | None:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return None
    return None if found is None else 1024 * int(found[1])
