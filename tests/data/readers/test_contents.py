"""The same files elsewhere are the same data; one more, another name or other pictures are not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_hydra.data import Comparable, folder, shards
from mae_hydra.data.dataset import limited
from mae_hydra.data.label_table import Reading
from mae_hydra.data.labels.coding import Coding
from mae_hydra.data.readers.ade20k import photos_of
from mae_hydra.data.readers.contents import BYTES, contents_of
from mae_hydra.data.readers.folder import Photos
from mae_hydra.data.shards.write import write_shards

FACTS = {"image_size": 16, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 0, "ignore_index": 255}
LOADING = {"batch_size": 1, "num_workers": 0, "train_limit": None}


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(path)  # all of one size in bytes


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(6):
        noise(tmp_path / f"photos/{number}.png", number)
    return tmp_path / "photos"


def contents(root: Path) -> str:
    return folder(root=str(root), validation_fraction=0.2, **FACTS, **LOADING).train.contents()


def test_a_copy_is_the_same_data(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    assert contents(tmp_path / "copy") == contents(photos)


def test_one_more_a_name_a_size_or_a_picture_make_it_another(photos):
    seen = {contents(photos)}
    noise(photos / "0.png", 77)  # the same name and size
    seen.add(contents(photos))
    Image.new("RGB", (16, 16)).save(photos / "0.png")
    seen.add(contents(photos))
    (photos / "1.png").rename(photos / "one.png")
    seen.add(contents(photos))
    noise(photos / "6.png", 6)
    seen.add(contents(photos))
    assert len(seen) == 5


def test_the_beginnings_of_files_from_the_first_to_the_last_count(tmp_path):
    files = [tmp_path / str(number) for number in range(40)]
    for file in files:
        file.write_bytes(bytes(BYTES + 1))

    def digest(changed: int, place: int) -> str:
        files[changed].write_bytes(bytes(place) + b"x" + bytes(BYTES - place))
        found = contents_of("names", 40, lambda index: [files[index]])
        files[changed].write_bytes(bytes(BYTES + 1))
        return found

    plain = contents_of("names", 40, lambda index: [files[index]])
    assert len({plain, digest(0, BYTES - 1), digest(39, BYTES - 1), digest(0, 0), digest(39, 5)}) == 5
    assert digest(0, BYTES) == plain
    files[38].write_bytes(b"")  # sizes are of more of them
    assert contents_of("names", 40, lambda index: [files[index]]) != plain


def test_class_maps_count_as_well(tmp_path):
    for number in range(3):
        noise(tmp_path / f"images/training/{number}.png", number)
        (tmp_path / "annotations/training").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), number, np.uint8)).save(tmp_path / f"annotations/training/{number}.png")
    coding = Coding(Reading(3, 255, False))
    before = photos_of(tmp_path, "training", 3, coding)[0].contents()
    Image.fromarray(np.full((16, 16), 2, np.uint8)).save(tmp_path / "annotations/training/0.png")
    assert photos_of(tmp_path, "training", 3, coding)[0].contents() != before


def test_shards_are_compared_by_what_they_hold(tmp_path):
    found = []
    for number, seeds in enumerate(([0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7])):  # all of one size in bytes
        root = tmp_path / str(number)
        for name, seed in enumerate(seeds):
            noise(root / f"photos/{name}.png", seed)
        photos = Photos(root / "photos", [f"{name}.png" for name in range(4)], 3)
        write_shards({"train": photos}, root / "shards", classes=None, samples_per_shard=2, num_workers=0)
        made = {"root": str(root / "shards"), "validation": None, "window": 8, "cache": "cache", "cache_gb": 1}
        found.append(shards(**made, validation_fraction=0.5, **FACTS, **LOADING).train.contents())
    assert found[0] == found[1] != found[2]


def test_some_of_a_set_are_another_set(photos):
    class Numbers:
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> int:
            return index

    some = limited(Numbers(), 4)
    assert isinstance(some, Comparable)
    assert some.contents() == "4 of embedded"


def test_a_file_that_is_gone_is_no_error_here(photos):
    (photos / "link.png").symlink_to("nowhere")
    before = contents(photos)
    assert before == contents(photos)
