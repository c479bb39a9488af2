"""Before anything is imported: one thread a process, and shapes in the models' signatures checked at every call."""

import gc
import os
import runpy
from pathlib import Path

# pytest runs two processes on two cores, and more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from jaxtyping import install_import_hook

TYPECHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int will do for a float

gc.disable()  # see mae_hydra.launching.importing
# Before the hook: whatever a hooked module imports misses its cached bytecode, and PyTorch and timm are long.
runpy.run_path(str(Path(__file__).parents[1] / "mae_hydra" / "models" / "lean_timm.py"))
with install_import_hook("mae_hydra.models", TYPECHECKER):
    import mae_hydra.models  # noqa: F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process of two is left with it at the end."""
    items.sort(key=lambda item: item.path.stem != "test_kills")


def pytest_collection_finish() -> None:
    """What was imported stays; no collection of a test looks at it."""
    gc.freeze()
    gc.enable()
