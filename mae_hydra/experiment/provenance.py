"""Where a result came from: the code (git), the machine and the packages, as files of the run directory."""

import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from mae_hydra.data import ImageData, ImageSet, Listed
from mae_hydra.experiment.status import read_json, write_json
from mae_hydra.weights import Checkpoint

PACKAGES = ("mae-hydra", "torch", "torchvision", "timm", "hydra-core", "omegaconf", "torchmetrics", "wandb", "numpy")
SOURCE = Path(__file__).resolve().parents[2]


def write_provenance(run_dir: Path) -> None:
    """Write `git.json`, `git.diff` and `environment.json`: what is known before anything is built."""
    write_json(run_dir / "environment.json", environment())
    state = git_state()
    write_json(run_dir / "git.json", state)
    (run_dir / "git.diff").write_text(_git("diff", "HEAD") or "" if state["commit"] else "")


def changed_code(run_dir: Path) -> str | None:
    """How the code has changed since `run_dir` was trained, in words; None where it has not, or cannot be known."""
    then, now = read_json(run_dir / "git.json"), git_state()
    if not then or then["commit"] is None or now["commit"] is None:
        return None
    if then["commit"] != now["commit"]:
        return f"commit {then['commit'][:9]} then, {now['commit'][:9]} now"
    diff = run_dir / "git.diff"
    before = diff.read_text(errors="replace") if diff.is_file() else ""
    return None if before == (_git("diff", "HEAD") or "") else "uncommitted changes then and now differ"


def origin_of(run_dir: Path, data: ImageData, seed: int) -> dict[str, Any]:
    """What a checkpoint tells of its making, in plain values: code, machine, seed, data and the file it began from.

    Code, machine and that file are what `run_dir` has of them.
    """
    return {
        "git": read_json(run_dir / "git.json"),
        "environment": read_json(run_dir / "environment.json"),
        "seed": seed,
        "data": {
            "train": _split(data.train),
            "validation": _split(data.validation),
            "range": data.pixel_range and data.pixel_range.pairs(),
        },
        "parent": read_json(run_dir / "parent.json"),
    }


def _split(image_set: ImageSet) -> dict[str, Any]:
    return {
        "images": len(image_set),
        "listing": image_set.listing() if isinstance(image_set, Listed) else "embedded",
    }


def parent_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The file, or the files of a folder, whatever becomes of the name: a digest and, of a run of ours, the step."""
    path = checkpoint.path
    files = sorted(part for part in path.iterdir() if part.is_file()) if path.is_dir() else [path]
    digests = [_sha256(file) for file in files]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    return {"path": str(path.absolute()), "sha256": whole, "step": checkpoint.meta.get("step")}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
