"""Where a result came from: the code (git), the machine and the packages, as files of the run directory."""

import hashlib
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from mae_hydra.configuration.own_options import folder_of, own_sources
from mae_hydra.data import ImageData, ImageSet, Listed
from mae_hydra.recorded.tables import read_table, table_or_none
from mae_hydra.weights import Checkpoint

# Of the environment: what decides where data lie, what may be built, and how torch runs. Never a key or a password.
VARIABLES = ("MAE_HYDRA_", "CUDA_VISIBLE", "CUBLAS_", "OMP_", "MKL_", "NCCL_", "PYTORCH_", "SLURM_JOB")
SECRET = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)
PACKAGES = ("mae-hydra", "torch", "torchvision", "timm", "hydra-core", "omegaconf", "torchmetrics", "wandb", "numpy")
SOURCE = Path(__file__).resolve().parents[2]
NEW = ("mae_hydra/*.py", "mae_hydra/*.yaml", "conf/*.yaml")  # files that count before git knows them; * reads / too


def provenance() -> tuple[dict[str, str], dict[str, Any]]:
    """`git.diff`, a text, and `git.json` and `environment.json`, tables: what is known before anything is built."""
    state, difference = git_state(), _difference() or ""
    return {"git.diff": difference}, {"environment.json": environment() | composition(), "git.json": state}


def changed_code(run_dir: Path) -> str | None:
    """How the code has changed since `run_dir` was trained, in words; None where it has not, or cannot be known."""
    then, now = (table_or_none(run_dir / "git.json") or {}).get("commit"), git_state()["commit"]
    if then is None or now is None:
        return None
    if then != now:
        return f"commit {then[:9]} then, {now[:9]} now"
    diff = run_dir / "git.diff"
    before = diff.read_text(errors="replace") if diff.is_file() else ""
    return None if before == (_difference() or "") else "uncommitted changes then and now differ"


def origin_of(run_dir: Path, data: ImageData, seed: int) -> dict[str, Any]:
    """What a checkpoint tells of its making, in plain values: code, machine, seed, data and the file it began from.

    Code, machine and that file are what `run_dir` has of them.
    """
    return {
        "git": read_table(run_dir / "git.json"),
        "environment": read_table(run_dir / "environment.json"),
        "seed": seed,
        "data": {
            "train": _split(data.train),
            "validation": _split(data.validation),
            "range": data.pixel_range and data.pixel_range.pairs(),
        },
        "parent": read_table(run_dir / "parent.json"),
    }


def _split(image_set: ImageSet) -> dict[str, Any]:
    return {
        "images": len(image_set),
        "listing": image_set.listing() if isinstance(image_set, Listed) else "embedded",
    }


def parent_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The file, or the files of a folder, whatever becomes of the name: a digest and, of a run of ours, the step.

    Of weights by name also the address, and the commit where they come from a repository.
    """
    path = checkpoint.path
    part = {"part": checkpoint.part} if checkpoint.part else {}
    by_name = {"name": checkpoint.name, "revision": checkpoint.revision} if checkpoint.name else {}
    step = checkpoint.meta.get("step")
    return {"path": str(path.absolute()), "sha256": sha256_of(path), "step": step, **part, **by_name}


def sha256_of(path: Path) -> str:
    """What `sha256sum` says of a file; of a folder, what `(cd FOLDER; sha256sum * | sha256sum)` says, hidden files left
    out."""
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(part for part in path.iterdir() if part.is_file() and not part.name.startswith("."))
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def git_state() -> dict[str, Any]:
    """Commit, branch and whether the code differs from it; nulls where the code does not lie in a repository."""
    difference = _difference()
    return {
        "commit": _git("rev-parse", "HEAD"),
        "branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": None if difference is None else bool(difference),
    }


def _difference() -> str | None:
    """What differs from the commit, as `git diff` writes it: of tracked files, and of new files of the package and its
    configuration. Data, outputs and notes that lie beside them are no change. None where there is no commit."""
    tracked = _git("diff", "HEAD")
    if tracked is None:
        return None
    new = (_git("ls-files", "-z", "--others", "--exclude-standard", "--", *NEW) or "").split("\0")
    added = [_git("diff", "--no-index", "--", os.devnull, name) for name in new if name]
    return "\n".join(filter(None, [tracked, *added]))


def _git(*arguments: str) -> str | None:
    if not (SOURCE / ".git").exists():  # an installed package may lie inside somebody else's repository
        return None
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=SOURCE, capture_output=True, text=True, timeout=20, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    good = (0, 1) if "--no-index" in arguments else (0,)  # 1: the two files differ
    return answer.stdout.rstrip("\n") if answer.returncode in good else None


def environment() -> dict[str, Any]:
    """Describe what a run is started with: command, folder, versions, machine."""
    import torch

    return {
        "command": [sys.executable, *sys.argv],
        "folder": os.getcwd(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in PACKAGES},
        "variables": {
            name: value for name, value in os.environ.items() if name.startswith(VARIABLES) and not SECRET.search(name)
        },
    }


def composition() -> dict[str, Any]:
    """Which option files the run was composed of, besides those of this package: the option of every group, and the
    folders of one's own (`--config-dir`, `hydra.searchpath`, `--config-path`) in which they were looked for."""
    if not HydraConfig.initialized():
        return {}
    hydra = HydraConfig.get()
    return {
        "config_name": hydra.job.config_name,
        "config_folders": [folder_of(source) for source in own_sources()],
        "choices": {str(group): str(name) for group, name in hydra.runtime.choices.items() if "hydra/" not in group},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
