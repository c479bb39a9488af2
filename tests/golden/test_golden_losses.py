"""The first losses of every model, written down: a change that moves them is a change of what is computed.

`python tests/golden/test_golden_losses.py` writes losses.json anew; the commit that does must say why.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mae_hydra.configuration.tree import config_dir
from mae_hydra.engine import Checkpoints
from mae_hydra.launching.launch import launch

GOLDEN = Path(__file__).with_name("losses.json")
MODELS = sorted(file.stem for file in (config_dir() / "model").glob("*.yaml"))
LARGE = ("s", "b", "l", "h")  # of these a few blocks do: the same program, in seconds
RUN = [
    "engine=cpu",
    "engine.precision=fp32",  # whatever "auto" stands for here
    "engine.global_batch=4",
    "data.batch_size=2",  # two micro-batches
    "data.num_train=16",
    "data.num_validation=4",
    "data.num_workers=0",
    "schedule.total=3",
    "schedule.warmup=1",
    "engine.log_every=1",
    "evaluation=none",
    "checkpoint.monitor=none",
    "checkpoint.mode=max",
    "checkpoint.every=null",
    "checkpoint.save_best=false",
]


# The smallest of every kind, in seconds: rectangles, another seed, more than one step's learning rate.
SMALL = [model for model in MODELS if model.endswith("t")]
OBLONG = ["seed=3", "data.image_size=[32,48]", "backbone.depth=2", "backbone.out_indices=[1]", "schedule.warmup=0"]


def small(model: str) -> list[str]:
    if model.startswith(("upernet", "dpt")):
        return [*OBLONG, "backbone.depth=4", "backbone.out_indices=[0,1,2,3]", "head.channels=16"]
    return OBLONG


def shrunk(model: str) -> list[str]:
    if not model.endswith(LARGE):
        return []
    if model.startswith(("upernet", "dpt")):
        return ["backbone.depth=4", "backbone.out_indices=[0,1,2,3]", "head.channels=64"]
    decoder = ["head.depth=1"] if model.startswith(("mae", "pixio")) else []
    if model.startswith("pixio"):
        decoder.append("data.image_size=128")
    return ["backbone.depth=2", "backbone.out_indices=[1]", *decoder]


def losses(model: str, folder: Path, changes: Sequence[str]) -> list[float]:
    words = [f"model={model}", *RUN, *changes, f"paths.output_root={folder}", f"hydra.run.dir={folder}/{model}"]
    assert launch(words) == 0
    lines = map(json.loads, (folder / model / "metrics.jsonl").read_text().splitlines())
    return [line["train/loss"] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_first_losses_are_what_they_were(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(Checkpoints, "save", lambda *_, **__: None)  # up to a gigabyte behind the last loss
    golden = json.loads(GOLDEN.read_text())[model]
    # Other processors and versions add up in another order; a step later that is amplified.
    assert losses(model, tmp_path, shrunk(model)) == pytest.approx(golden, rel=2e-4)


@pytest.mark.parametrize("model", SMALL)
def test_the_first_losses_on_small_oblong_images_are_what_they_were(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    golden = json.loads(GOLDEN.read_text())[f"{model} oblong"]
    assert losses(model, tmp_path, small(model)) == pytest.approx(golden, rel=2e-4)


def test_every_model_has_its_losses():
    assert sorted(json.loads(GOLDEN.read_text())) == sorted([*MODELS, *(f"{model} oblong" for model in SMALL)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {model: losses(model, Path(folder), shrunk(model)) for model in MODELS}
        found |= {f"{model} oblong": losses(model, Path(folder) / "oblong", small(model)) for model in SMALL}
    GOLDEN.write_text(
        "{\n" + ",\n".join(f'  "{name}": {json.dumps(values)}' for name, values in found.items()) + "\n}\n"
    )
