"""Where a result came from: the code (git), the machine and the packages, as files of the run directory."""

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from mae_hydra.experiment.status import write_json

PACKAGES = ("mae-hydra", "torch", "torchvision", "timm", "hydra-core", "omegaconf", "torchmetrics", "wandb", "numpy")
SOURCE = Path(__file__).resolve().parents[2]


def write_provenance(run_dir: Path) -> None:
    """Write `git.json`, `git.diff` and `environment.json`."""
    write_json(run_dir / "environment.json", environment())
    state = git_state()
    write_json(run_dir / "git.json", state)
    (run_dir / "git.diff").write_text(_git("diff", "HEAD") or "" if state["commit"] else "")


def git_state() -> dict[str, Any]:
    """Commit, branch and whether the tree differs from it; nulls where the code does not lie in a repository."""
    changed = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": None if changed is None else bool(changed),
    }


def _git(*arguments: str) -> str | None:
    if not (SOURCE / ".git").exists():  # an installed package may lie inside somebody else's repository
        return None
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=SOURCE, capture_output=True, text=True, timeout=20, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.rstrip("\n") if answer.returncode == 0 else None


def environment() -> dict[str, Any]:
    import torch

    return {
        "command": [sys.executable, *sys.argv],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in PACKAGES},
        "variables": {
            k: v for k, v in os.environ.items() if k.startswith(("CUDA_VISIBLE", "OMP_", "NCCL_", "SLURM_JOB"))
        },
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
