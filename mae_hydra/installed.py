"""Whether this Python has what the package needs: said in one sentence instead of a failed import's traceback."""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

# By the names under which they are imported; a test compares them with the dependencies of pyproject.toml.
NEEDED = (
    "fsspec", "huggingface_hub", "hydra", "jaxtyping", "jinja2", "markupsafe", "matplotlib", "numpy", "omegaconf",
    "PIL", "rich", "safetensors", "tifffile", "timm", "torch", "torchmetrics", "torchvision", "wandb", "yaml",
)  # fmt: skip
OLDEST_PYTHON = (3, 11)


def require() -> None:
    """Leave with a sentence and exit code 1 where Python is too old or a dependency is missing."""
    if sys.version_info < OLDEST_PYTHON:
        needed, used = (".".join(map(str, version[:2])) for version in (OLDEST_PYTHON, sys.version_info))
        sys.exit(f"error: Python {needed} or newer is needed, {sys.executable} is {used}; {way_out()}")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        sys.exit(f"error: {sys.executable} has no {names}; {way_out()}")


def way_out() -> str:
    """What to type for an environment that has everything."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "Makefile").is_file():  # installed as a package
        return "install it again: pip install mae-hydra"
    activate = root / ".venv" / "bin" / "activate"
    here = activate.relative_to(root) if Path.cwd() == root else activate
    if activate.is_file() and not Path(sys.prefix).samefile(root / ".venv"):
        return f"activate the environment: source {here}"
    return f"build the environment with `make setup` in {root}, then: source {here}"


def versions() -> str:
    """This package and what its numbers depend on, in a line."""
    found = []
    for name in ("mae-hydra", "torch", "hydra-core"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:  # the source, not installed
            found.append(f"{name} unknown")
    return ", ".join([*found, f"Python {'.'.join(map(str, sys.version_info[:3]))}"])
