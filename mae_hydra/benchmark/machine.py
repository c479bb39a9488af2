"""On what a number was measured."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from mae_hydra.products import taken

LOAD_AT_START = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
"""Of the minute before this process began: later it is also its own."""
BUSY = 0.5  # cores that other work takes, from which on it is told


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, accelerators, torch and its threads."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "accelerators": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "torch": torch.__version__.partition("+")[0],
        "python": platform.python_version(),
        "products": taken(),
        "load_at_start": round(LOAD_AT_START, 2),
    }


def in_words(machine: dict[str, Any]) -> str:
    """One line for the foot of a table."""
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    where = ", ".join(machine["accelerators"]) or f"{threads} of {machine['processor']}"
    load = machine["load_at_start"]
    return f"{where}, torch {machine['torch']}" + (f", at a load of {load:.1f} before" if load >= BUSY else "")


def _processor() -> str:
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
