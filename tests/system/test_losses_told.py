"""Losses of one's own choice from the first step to the answer: recorded, gone on with, evaluated, predicted with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_UPERNET
from PIL import Image

from mae_hydra.commands import main

AUTO = [
    "model=upernet_vitt", *TINY_UPERNET, "loss=cross_entropy_dice", "loss.losses.cross_entropy.class_weights=auto",
    "schedule.total=4", "checkpoint.every=2", "checkpoint.keep_last=4",
]  # fmt: skip


def content(run: Path) -> dict:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)


@pytest.mark.slow
def test_a_run_goes_on_with_the_class_weights_that_it_began_with(train, capsys):
    assert train(*AUTO, "hydra.run.dir=whole") == 0
    assert "class weights by median frequency, from 16 of 16 class maps: " in capsys.readouterr().out
    weights = json.loads(Path("whole/data.json").read_text())["class_weights"]
    assert len(set(weights)) > 2
    assert content(Path("whole"))["meta"]["origin"]["data"]["class_weights"] == weights

    shutil.copytree("whole", "cut")
    for name in ("last.pt", "best.pt", "step-00000004.pt"):
        Path("cut/checkpoints", name).unlink(missing_ok=True)
    Path("cut/status.json").unlink()
    assert train("resume=cut") == 0
    said = capsys.readouterr().out
    assert "from step 2" in said
    assert "class weights" not in said
    for name, tensor in content(Path("whole"))["model"].items():
        assert torch.equal(tensor, content(Path("cut"))["model"][name]), name
    assert main(["replay", "cut", "step=4"]) == 0
    assert "the same" in capsys.readouterr().out


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """Bright squares (1) on a dark ground (0), some of it ignored."""
    for split, images in (("training", 12), ("validation", 4)):
        for number in range(images):
            generator = np.random.default_rng(number)
            labels = np.zeros((64, 64), np.uint8)
            top, left = generator.integers(4, 32, 2)
            labels[top : top + 24, left : left + 24] = 1
            pixels = (60 + 120 * labels[..., None] + generator.integers(0, 40, (64, 64, 3))).astype(np.uint8)
            labels[:4] = 255
            for folder, end, values in (("images", "jpg", pixels), ("annotations", "png", labels)):
                file = tmp_path / "two" / folder / split / f"{number:03}.{end}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(file)
    return tmp_path / "two"


@pytest.mark.slow
def test_one_output_tells_two_classes_apart(train, two_classes, capsys):
    words = [word for word in TINY_UPERNET if not word.startswith("data.num_")]
    data = ["data=ade20k", f"data.root={two_classes}", "data.num_classes=2", "data.reduce_zero_label=false"]
    words = ["model=upernet_vitt", "loss=binary", *words, *data, "data.num_workers=0", "hydra.run.dir=run"]
    assert train(*words, "data.image_size=64", "schedule.total=30", "optimizer.lr=0.01") == 0
    model = content(Path("run"))["model"]
    assert model["head.classify.weight"].shape[0] == 1
    assert main(["evaluate", "run", "--out", "found"]) == 0
    assert "mIoU" in capsys.readouterr().out
    found = json.loads(Path("run/results.json").read_text())
    assert max(value for key, value in found.items() if key.endswith("mIoU")) > 60
    assert main(["predict", "run", str(two_classes / "images/validation"), "--out", "drawn"]) == 0
    assert len(list(Path("drawn").rglob("*.png"))) >= 4


def test_one_output_is_refused_for_more_classes(train, capsys):
    assert train("model=upernet_vitt", *TINY_UPERNET, "loss=binary") == 1
    assert "data.num_classes must be 2 for a binary loss, got 12; use loss=cross_entropy" in capsys.readouterr().err
