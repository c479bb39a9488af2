"""A stamp changes with the files of a sample, and with nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_hydra.commands import main
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.data import ImageData, ImageSet
from mae_hydra.data.dataset import limited, stamp_of


def picture(file: Path, value: int = 9) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((32, 32), value, np.uint8)).save(file)


def stamps(images: ImageSet) -> list[str]:
    return [stamp_of(images, index) for index in range(len(images))]


def made(*words: str) -> ImageData:
    return build(compose_config([*words, "data.batch_size=1"]).data, "data")


def changed(before: list[str], after: list[str]) -> list[int]:
    return [index for index, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]


@pytest.fixture
def segmentation(tmp_path: Path) -> Path:
    for split in ("training", "validation"):
        for name in "abc":
            picture(tmp_path / "images" / split / f"{name}.png")
            picture(tmp_path / "annotations" / split / f"{name}.png", 1)
    return tmp_path


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_a_picture_or_its_labels(segmentation: Path, part: str) -> None:
    words = ["data=ade20k", f"data.root={segmentation}", "data.num_classes=4"]
    before = stamps(made(*words).validation)
    assert stamps(made(*words).validation) == before
    assert len(set(before)) == 3
    file = segmentation / part / "validation" / "b.png"
    picture(file, 2)
    os.utime(file, ns=(1, 1))  # a clock may have stood still
    assert changed(before, stamps(made(*words).validation)) == [1]
    some = limited(made(*words).train, 2)
    assert stamps(some) == [stamps(made(*words).train)[index] for index in (0, 1)]


def test_a_photo_and_its_class(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/2.png"):
        for split in ("train", "val"):
            picture(tmp_path / split / name)
    words = ["data=imagenet", f"data.root={tmp_path}"]
    before = stamps(made(*words, "data.num_classes=2").validation)
    picture(tmp_path / "train" / "ant" / "3.png")  # every class that was there is another number now
    assert changed(before, stamps(made(*words, "data.num_classes=3").validation)) == [0, 1]


def test_a_shard(tmp_path: Path) -> None:
    for name in "abcdef":
        picture(tmp_path / "photos" / f"{name}.png")
    words = ["data=folder", f"data.root={tmp_path / 'photos'}", "data.validation_fraction=0.5"]
    assert main(["make-shards", str(tmp_path / "shards"), *words, "--workers", "0"]) == 0
    words = ["data=shards", f"data.root={tmp_path / 'shards'}"]
    before = stamps(made(*words).validation)
    assert len(set(before)) == len(before) == 3
    [file] = (tmp_path / "shards").glob("validation*.tar")
    os.utime(file, ns=(1, 1))
    assert changed(before, stamps(made(*words).validation)) == [0, 1, 2]


def test_what_is_rendered_is_known_by_its_place() -> None:
    assert stamps(made("data=scenes", "data.num_validation=3").validation) == ["0", "1", "2"]
