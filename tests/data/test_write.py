import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet, labelled_set
from PIL import Image, JpegImagePlugin

from mae_hydra.data import ImageData, Sample, ade20k, distinct_colours, imagenet, scenes, write_ade20k, write_imagenet
from mae_hydra.data.write import image_class
from mae_hydra.errors import UserError

SPLITS = ("training", "validation")
NAMES = ["sky", "wet sand", "rock/stone"]
COMMON: dict[str, Any] = {
    "image_size": 16, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "ignore_index": 255, "batch_size": 2,
    "num_workers": 0,
    "train_limit": None,
}  # fmt: skip
PALETTE = distinct_colours(3)


def write_maps(root: Path, sizes: tuple[int, int] = (4, 2), **changes: Any) -> None:
    values = {"palette": PALETTE, "ignore_index": 255, "indexed": False, "overwrite": False, "num_workers": 0}
    sets = {split: labelled_set(size, 3, seed=size) for split, size in zip(SPLITS, sizes, strict=True)}
    write_ade20k(sets, root, class_names=NAMES, **values | changes)


def read_maps(root: Path) -> ImageData:
    return ade20k(root=str(root), num_classes=3, reduce_zero_label=True, **COMMON)


def write_folders(root: Path, train: ListSet, val: ListSet, **changes: Any) -> list[str]:
    values = {"palette": PALETTE, "subjects": None, "overwrite": False, "num_workers": 0}
    return write_imagenet({"train": train, "val": val}, root, class_names=NAMES, **values | changes)


@pytest.mark.parametrize(("indexed", "num_workers"), [(False, 0), (True, 0), (False, 2)])
def test_what_is_written_as_ade20k_is_read_back(tmp_path: Path, indexed: bool, num_workers: int) -> None:
    write_maps(tmp_path / "small", indexed=indexed, num_workers=num_workers)
    data = read_maps(tmp_path / "small")
    assert data.class_names == tuple(NAMES)
    assert np.array_equal(data.palette, distinct_colours(3))
    for written, found in ((labelled_set(4, 3, seed=4), data.train), (labelled_set(2, 3, seed=2), data.validation)):
        assert len(written) == len(found)
        for index in range(len(written)):
            assert found[index].name == written[index].name
            assert torch.equal(found[index].label, written[index].label)  # type: ignore[arg-type]
            difference = (found[index].image.int() - written[index].image.int()).abs().float()
            assert difference.mean() < 2  # JPEG at quality 95


def test_stored_maps_follow_ade20ks_convention_and_show_the_palette(tmp_path: Path) -> None:
    write_maps(tmp_path / "small", indexed=True)
    picture = Image.open(tmp_path / "small/annotations/training/picture_000.png")
    labels = labelled_set(4, 3, seed=4)[0].label
    assert isinstance(labels, torch.Tensor)
    expected = np.where(labels.numpy() == 255, 0, labels.numpy() + 1)
    assert np.array_equal(np.array(picture), expected)
    colours = np.array([[0, 0, 0], *distinct_colours(3)])
    assert np.array_equal(np.array(picture.convert("RGB")), colours[expected])
    write_maps(tmp_path / "gray")
    gray = Image.open(tmp_path / "gray/annotations/training/picture_000.png")
    assert (picture.mode, gray.mode) == ("P", "L")
    assert np.array_equal(np.array(gray), expected)
    with Image.open(tmp_path / "gray/images/training/picture_000.jpg") as photo:
        assert JpegImagePlugin.get_sampling(photo) == 0  # colors as fine as brightness
        assert max(photo.quantization[0]) <= 12  # of quality 95


def test_scenes_survive_the_way_through_files(tmp_path: Path) -> None:
    values = COMMON | {"image_size": 64}
    data = scenes(num_train=3, num_validation=2, seed=0, num_classes=12, **values)
    sets = {"training": data.train, "validation": data.validation}
    write_ade20k(
        sets, tmp_path / "scenes", class_names=data.class_names, palette=data.palette, ignore_index=255,
        indexed=False, overwrite=False, num_workers=0,
    )  # fmt: skip
    found = ade20k(root=str(tmp_path / "scenes"), num_classes=12, reduce_zero_label=True, **values)
    assert found.class_names == data.class_names
    for index in range(3):
        assert torch.equal(found.train[index].label, data.train[index].label)  # type: ignore[arg-type]


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        write_maps(tmp_path)
    with pytest.raises(UserError, match="was not written by make-data, so it is not overwritten"):
        write_maps(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="it is a file; name a folder"):
        write_maps(tmp_path / "thesis.txt")


def test_overwriting_leaves_nothing_of_the_earlier_set_and_all_of_the_users(tmp_path: Path) -> None:
    write_maps(tmp_path / "small", sizes=(5, 3))
    (tmp_path / "small/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        write_maps(tmp_path / "small")
    write_maps(tmp_path / "small", sizes=(2, 1), overwrite=True)
    data = read_maps(tmp_path / "small")
    assert (len(data.train), len(data.validation)) == (2, 1)
    assert (tmp_path / "small/notes.txt").read_text() == "mine"


def filled(*shares: tuple[int, float]) -> Sample:
    """A sample whose map holds the given classes with the given shares of its 100 rows."""
    rows = np.concatenate([np.full(round(100 * share), number) for number, share in shares]).astype(np.uint8)
    return Sample(torch.zeros(3, 100, 4, dtype=torch.uint8), torch.from_numpy(np.repeat(rows[:, None], 4, axis=1)), "")


@pytest.mark.parametrize(
    ("shares", "allowed", "expected"),
    [
        ([(0, 0.6), (1, 0.4)], [0, 1, 2], 0),
        ([(0, 0.6), (1, 0.1), (2, 0.3)], [1, 2], 2),
        ([(255, 0.9), (1, 0.1)], [0, 1, 2], 1),
        ([(0, 1.0)], [1, 2], None),
    ],
)
def test_an_image_belongs_to_the_largest_class_that_may_be_its_subject(
    shares: list[tuple[int, float]], allowed: list[int], expected: int | None
) -> None:
    label = filled(*shares).label
    assert isinstance(label, torch.Tensor)
    assert image_class(label.numpy(), allowed) == expected


def named(samples: list[Sample]) -> ListSet:
    return ListSet([sample._replace(name=f"s{number}") for number, sample in enumerate(samples)])


def test_what_is_written_as_imagenet_is_read_back(tmp_path: Path) -> None:
    train = named([filled((0, 0.9)), filled((2, 1.0)), filled((0, 0.7), (1, 0.3)), filled((2, 0.4), (0, 0.6))])
    val = named([filled((1, 0.8), (2, 0.2)), filled((0, 1.0)), filled((1, 1.0))])
    folders = write_folders(tmp_path / "small", train, val)
    assert folders == ["0_sky", "2_rock_stone"]
    data = imagenet(root=str(tmp_path / "small"), num_classes=len(folders), **COMMON)
    assert data.class_names == tuple(folders)
    assert {data.train[index].name: data.train[index].label for index in range(4)} == {
        "0_sky/s0.jpg": 0, "0_sky/s2.jpg": 0, "0_sky/s3.jpg": 0, "2_rock_stone/s1.jpg": 1,
    }  # fmt: skip
    # Class 1 has no training image: one validation image goes to its next larger class, one is left out.
    names = {data.validation[index].name for index in range(len(data.validation))}
    assert names == {"0_sky/s1.jpg", "2_rock_stone/s0.jpg"}


def test_only_subjects_become_classes(tmp_path: Path) -> None:
    sets = named([filled((0, 0.9), (1, 0.1)), filled((0, 0.8), (2, 0.2)), filled((0, 1.0))])
    assert write_folders(tmp_path / "small", sets, sets, subjects=[1, 2]) == ["1_wet_sand", "2_rock_stone"]
    assert len(list((tmp_path / "small/train").rglob("*.jpg"))) == 2
    assert json.loads((tmp_path / "small/classes.json").read_text())["names"] == NAMES


def test_names_of_files_and_folders_are_safe_and_in_order(tmp_path: Path) -> None:
    def written(count: int, *names: str, **changes: Any) -> list[str]:
        sets = ListSet([filled((count - 1, 1.0))._replace(name=name) for name in names])
        values = {"palette": PALETTE, "subjects": None, "overwrite": False, "num_workers": 0} | changes
        classes = [f"c {number}" for number in range(count)]
        return write_imagenet({"train": sets, "val": sets}, tmp_path / str(count), class_names=classes, **values)

    assert written(10, "x") == ["9_c_9"]
    assert written(11, "a/my photo.v2.png", "b/my photo.v2.png", subjects=[10, 2]) == ["10_c_10"]
    names = sorted(path.name for path in (tmp_path / "11/val/10_c_10").iterdir())
    assert names == ["a_my_photo.v2.jpg", "b_my_photo.v2.jpg"]
    few = named([filled((0, 1.0)), filled((1, 1.0))])
    folders = write_folders(tmp_path / "few", few, named([filled((1, 1.0))]))  # of training, whatever validation has
    assert folders == ["0_sky", "1_wet_sand"]


def test_photos_without_maps_cannot_be_written_with_them(tmp_path: Path) -> None:
    photos = ListSet([Sample(torch.zeros(3, 4, 4, dtype=torch.uint8), 1, "photo_1")])
    with pytest.raises(UserError, match="photo_1 has no class map"):
        write_folders(tmp_path / "small", photos, photos)


def test_what_was_put_into_a_written_set_survives_its_overwriting(tmp_path):
    write_maps(tmp_path / "set")
    mine = tmp_path / "set/images/training/mine.jpg"
    mine.write_text("mine")
    before = {path for path in (tmp_path / "set").rglob("*") if path.is_file()}
    write_maps(tmp_path / "set", overwrite=True)
    assert mine.read_text() == "mine"
    assert {path for path in (tmp_path / "set").rglob("*") if path.is_file()} == before
    theirs = next(path for path in before if path.suffix == ".png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.mae-hydra-make-data").write_text("mae-hydra make-data wrote this folder and may overwrite it")
    place = tmp_path / "other" / theirs.relative_to(tmp_path / "set")
    place.parent.mkdir(parents=True)
    place.write_text("of a set that was written before there were lists")
    with pytest.raises(UserError, match="it was not mae-hydra make-data that wrote it"):
        write_maps(tmp_path / "other", overwrite=True)
    assert place.read_text() == "of a set that was written before there were lists"
