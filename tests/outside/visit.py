"""A package that mae_hydra does not know, on the path of this process and of those that it starts."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page import PROJECT, ROOT

from mae_hydra.launching.launch import launch

CONF = PROJECT / "mylab" / "conf"
OWN = ["--config-dir", str(CONF)]
SMOKE = ["+debug=smoke", "engine=cpu", "data.num_train=16", "data.num_validation=4"]
SMOKE += ["evaluation.validation.num_pictures=0", "paths.output_root=outputs"]
ENCODER = ["backbone.embed_dim=32", "backbone.depth=4", "backbone.num_heads=2"]
ALL = [*OWN, "+experiment=mylab", *SMOKE, *ENCODER, "head.channels=16", "logger=mylab"]
DECODER = ["head.embed_dim=16", "head.depth=1", "head.num_heads=2"]
MAE = [*OWN, "model=mae_vitt", "backbone=mylab", "data=mylab", *SMOKE, *ENCODER, "backbone.patch_size=8", *DECODER]
ENVIRONMENT = {"MAE_HYDRA_TRUST": "mylab", "PYTHONPATH": f"{ROOT}{os.pathsep}{PROJECT}", "OMP_NUM_THREADS": "1"}


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mylab"]:
        del sys.modules[name]


@pytest.fixture(scope="module", autouse=True)
def visiting() -> Iterator[None]:
    """The package, importable and trusted; and gone afterwards."""
    _forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT)
        patch.setattr(sys, "argv", ["train.py"])
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield
    _forget()


def train(place: Path, *words: str) -> int:
    """`python train.py *words` in `place`; the exit code."""
    before = os.getcwd()
    os.chdir(place)
    try:
        return launch(words)
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def trained(visiting: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`trained("all")`, `trained("mae")`: such a run, made once; its folder is not to be changed."""
    place, runs = tmp_path_factory.mktemp("trained"), {"all": ALL, "mae": MAE}

    def made(name: str) -> Path:
        if not (place / name).exists():
            assert train(place, *runs[name], f"hydra.run.dir={name}") == 0
        return place / name

    return made
