"""Masked-autoencoder pre-training and UPerNet segmentation, composed with Hydra and run by one engine.

    import mae_hydra
    model = mae_hydra.build("model=upernet_vitb", "data=ade20k")   # compose + instantiate
    model = mae_hydra.load("outputs/runs/…")                       # a trained model, in eval mode

Importing the package is cheap: torch is imported when one of the two is first used.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("mae-hydra")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

__all__ = ["__version__", "build", "load"]


def __getattr__(name: str) -> Any:
    if name in {"build", "load"}:
        from mae_hydra.workflows import entry

        return getattr(entry, name)
    raise AttributeError(f"module 'mae_hydra' has no attribute {name!r}")
