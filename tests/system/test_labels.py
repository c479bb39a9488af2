"""Labels that mean something else than configured: said before the first step, with words that then work."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_UPERNET
from PIL import Image

from mae_hydra.commands import main

SET = ["data=ade20k", "data.root=set", "data.image_size=64", "data.num_workers=0"]
MODEL = ["model=upernet_vitt", *(word for word in TINY_UPERNET if not word.startswith("data."))]


@pytest.fixture
def write(train):
    """`write(values)` makes "set": photos, and maps whose pixels take these values in turn."""

    def call(values: list[int]) -> None:
        dice = np.random.default_rng(0)
        for split, count in (("training", 4), ("validation", 2)):
            for kind in ("images", "annotations"):
                Path("set", kind, split).mkdir(parents=True)
            for number in range(count):
                photo = Image.fromarray(dice.integers(0, 256, (64, 64, 3), dtype=np.uint8))
                photo.save(f"set/images/{split}/{number}.jpg")
                stored = np.kron(dice.choice(values, (8, 8)), np.ones((8, 8))).astype(np.uint8)
                Image.fromarray(stored).save(f"set/annotations/{split}/{number}.png")

    return call


@pytest.mark.slow
def test_a_binary_set_is_refused_with_the_words_that_train_evaluate_and_predict_it(write, train, capsys):
    write([0, 255])
    assert train(*MODEL, *SET) == 1
    said = capsys.readouterr().err
    assert "the class maps hold 0 and 255 only" in said
    assert main(["check-data", *SET, "--out", "out", "--workers", "0"]) == 1
    words = shlex.split(said.partition("; set ")[2].partition(". All of the set")[0])
    assert words == ["data.num_classes=2", "data.values={0:0,255:1}"]
    assert train(*MODEL, *SET, *words, "hydra.run.dir=run") == 0
    assert train(*MODEL, *SET, *words, "hydra.run.dir=run") == 0  # complete: the numbers in `values` are the same keys
    saved = torch.load("run/checkpoints/last.pt", weights_only=True)["config"]["data"]
    assert saved["values"] == {0: 0, 255: 1}
    assert main(["evaluate", "run", "--out", "scores"]) == 0
    assert main(["predict", "run", "set/images/validation", "--out", "maps", "--as-stored"]) == 0
    values = {value for path in Path("maps/labels").glob("*.png") for value in np.unique(np.asarray(Image.open(path)))}
    assert values <= {0, 255}
    assert values


def test_photos_that_exif_turns_are_said_once_and_only_where_there_is_a_doubt(write, train, capsys):
    write([0, 1, 2])
    exif = Image.Exif()
    exif[0x0112] = 3
    for photo in Path("set/images/training").iterdir():
        Image.open(photo).save(photo, exif=exif)
    words = [*MODEL, *SET, "data.num_classes=3", "data.reduce_zero_label=false", "evaluation=none"]
    assert train(*words, "hydra.run.dir=run") == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "EXIF" in line]
    assert "4 images turned upright by EXIF beside a class map" in line


def test_an_evaluation_by_another_convention_is_refused(write, train, capsys):
    write([0, 1, 2])
    assert train(*MODEL, *SET, "data.num_classes=3", "data.reduce_zero_label=false", "hydra.run.dir=run") == 0
    capsys.readouterr()
    more = np.full((64, 64), 3, np.uint8)
    Image.fromarray(more).save("set/annotations/validation/0.png")
    assert main(["evaluate", "run", "--out", "scores"]) == 1
    assert "class maps fit data.reduce_zero_label=true or" in capsys.readouterr().err
