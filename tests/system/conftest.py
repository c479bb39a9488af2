"""Whole-system tests run the program as a person does: a command line in, a run directory and an exit code out."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import pytest

from mae_hydra.launching.launch import launch

# The smallest model and data that still go through every part.
TINY = [
    "+debug=smoke",
    "engine=cpu",
    "backbone.embed_dim=32",
    "backbone.depth=2",
    "backbone.num_heads=2",
    "data.num_train=16",
    "data.num_validation=4",
    "data.num_workers=0",
]
TINY_MAE = [*TINY, "backbone.out_indices=[1]", "head.embed_dim=16", "head.depth=1", "head.num_heads=2"]
TINY_MAE += ["evaluation.validation.num_pictures=1"]  # a picture takes as long as a step
# Without figures of each evaluation, most of what it costs; `trained_upernet` has them, and so has who looks at them.
TINY_UPERNET = [*TINY, "backbone.depth=4", "backbone.out_indices=[0,1,2,3]", "head.channels=16"]
TINY_UPERNET += ["evaluation.validation.num_pictures=0"]
WITH_FIGURES = "evaluation.validation.num_pictures=4"


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`train(*overrides)` is `python train.py *overrides` below tmp_path/outputs; gives the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setitem(os.environ, "HYDRA_FULL_ERROR", "1")

    def call(*overrides: str) -> int:
        return launch([*overrides, "paths.output_root=outputs"])

    return call


@pytest.fixture(scope="session")
def trained_upernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a trained UPerNet, made once: tests work on a copy."""
    return _trained(tmp_path_factory, "model=upernet_vitt", *TINY_UPERNET, WITH_FIGURES)


@pytest.fixture(scope="session")
def trained_mae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a pre-trained masked autoencoder, made once: tests work on a copy."""
    return _trained(tmp_path_factory, *TINY_MAE)


@pytest.fixture(scope="session")
def trained_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a trained classifier, made once: tests work on a copy."""
    return _trained(tmp_path_factory, "model=classifier_vitt", *TINY, "backbone.out_indices=[1]")


def _trained(factory: pytest.TempPathFactory, *words: str) -> Path:
    root = factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["train.py"])
        assert launch([*words, "hydra.run.dir=run", "paths.output_root=outputs"]) == 0
    return root / "run"


@pytest.fixture
def forked_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run in this process starts is forked from a server, without the seconds of imports."""
    forked.children(monkeypatch)


@pytest.fixture
def demo_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of `mae-hydra demo` without a process each, most of whose time would be imports."""

    def run(command: list[str]) -> tuple[int, None]:
        python, *module, verb = command[:4]
        assert (python, module, verb) == (sys.executable, ["-m", "mae_hydra"], "train")
        return launch(command[4:]), None

    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr("mae_hydra.launching.stages.run_apart", run)


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation without its files of tables and figures, which take longer than everything else."""
    monkeypatch.setattr("mae_hydra.workflows.evaluate.write_report", lambda *told: None)


def only_run(outputs: Path) -> Path:
    """The directory of the one run below `outputs`."""
    found = sorted(path.parent for path in outputs.glob("runs/*/*/status.json"))
    assert len(found) == 1, found
    return found[0]
