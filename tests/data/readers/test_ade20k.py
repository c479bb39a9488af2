import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import save, smooth_picture
from PIL import Image

from mae_hydra.data import ImageData, ade20k
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.label_table import LabelTable
from mae_hydra.data.readers.ade20k_names import ADE20K_NAMES
from mae_hydra.errors import UserError

TOPS = {"training": 1000, "validation": 4000}


def open_ade20k(root: Path | str | None, **changes: Any) -> ImageData:
    values: dict[str, Any] = {
        "image_size": 32, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "num_classes": 150, "ignore_index": 255,
        "reduce_zero_label": True, "batch_size": 2, "num_workers": 0, "train_limit": None,
    }  # fmt: skip
    return ade20k(**{"root": root} | values | changes)


def write_pair(root: Path, split: str, name: str, stored: np.ndarray, size: tuple[int, int] = (6, 8)) -> None:
    save(smooth_picture(*size), root / "images" / split / f"{name}.jpg")
    save(Image.fromarray(stored.astype(np.uint8)), root / "annotations" / split / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pair(tmp_path, "training", "ADE_train_1", np.arange(48).reshape(6, 8))
    write_pair(tmp_path, "training", "ADE_train_2", np.full((6, 8), 150))
    write_pair(tmp_path, "validation", "ADE_val_1", np.zeros((6, 8)))
    return tmp_path


def test_reduce_zero_label_follows_the_truth_table() -> None:
    table = LabelTable(num_classes=150, ignore_index=255, reduce_zero_label=True)
    stored = np.array([[0, 1, 2, 149, 150, 255]], np.uint8)
    assert table.classes(stored, Path("map.png")).tolist() == [[255, 0, 1, 148, 149, 255]]


def test_without_reducing_classes_are_stored_as_they_are() -> None:
    table = LabelTable(num_classes=3, ignore_index=7, reduce_zero_label=False)
    assert table.classes(np.array([[0, 1, 2, 7]], np.uint8), Path("map.png")).tolist() == [[0, 1, 2, 7]]
    for wrong in (3, 6, 8, 255):
        with pytest.raises(UserError, match=f"holds the value {wrong}, 1 pixels"):
            table.classes(np.array([[0, wrong]], np.uint8), Path("map.png"))


def test_another_ignore_index_takes_the_place_of_255() -> None:
    table = LabelTable(num_classes=3, ignore_index=200, reduce_zero_label=True)
    assert table.classes(np.array([[0, 3, 255]], np.uint8), Path("map.png")).tolist() == [[200, 2, 200]]


@pytest.mark.parametrize(("num_classes", "reduce_zero_label"), [(0, True), (255, True), (256, False), (300, False)])
def test_more_classes_than_a_map_can_hold_are_refused(num_classes: int, reduce_zero_label: bool) -> None:
    with pytest.raises(ValueError, match=rf"data.num_classes must lie in 1..25\d .*, got {num_classes}"):
        LabelTable(num_classes=num_classes, ignore_index=255, reduce_zero_label=reduce_zero_label)


def test_ade20k_gives_images_with_their_class_maps(root: Path) -> None:
    data = open_ade20k(root)
    sample = data.train[0]
    assert isinstance(sample.label, torch.Tensor)
    assert (sample.name, sample.image.shape, sample.label.dtype) == ("ADE_train_1", (3, 6, 8), torch.uint8)
    assert sample.label.flatten().tolist() == [255, *range(47)]
    assert (data.target, len(data.train), len(data.validation)) == ("map", 2, 1)
    assert (data.class_names[0], data.class_names[-1], len(data.class_names)) == ("wall", "flag", 150)
    assert len({tuple(colour) for colour in data.palette.tolist()}) == 150


def test_the_benchmark_has_150_different_class_names() -> None:
    assert len(set(ADE20K_NAMES)) == len(ADE20K_NAMES) == 150
    assert [ADE20K_NAMES[number] for number in (2, 7, 44, 91)] == ["sky", "bed", "chest of drawers", "dirt track"]


def test_names_and_colours_come_from_the_file_beside_the_data(root: Path) -> None:
    (root / "classes.json").write_text(json.dumps({"names": ["mud", "ice"], "palette": [[1, 2, 3], [4, 5, 6]]}))
    data = open_ade20k(root, num_classes=2)
    assert (data.class_names, data.assumed_names) == (("mud", "ice"), False)
    assert data.palette.tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(UserError, match=r"names 2 classes and data.num_classes is 150; set data.num_classes=2"):
        open_ade20k(root)


@pytest.mark.parametrize(
    "content", ["not json", "[]", '{"names": 3}', '{"names": ["a", "b"], "palette": [[1, 2, 999]]}']
)
def test_a_broken_class_file_is_named(root: Path, content: str) -> None:
    (root / "classes.json").write_text(content)
    with pytest.raises(UserError, match=r"cannot read .*classes\.json .* it should hold"):
        open_ade20k(root, num_classes=2)


@pytest.mark.parametrize(("palette", "shape"), [("[[1, 2, 3]]", r"\(1, 3\)"), ("[[1, 2], [3, 4]]", r"\(2, 2\)")])
def test_too_few_colours_are_refused(root: Path, palette: str, shape: str) -> None:
    (root / "classes.json").write_text(f'{{"names": ["a", "b"], "palette": {palette}}}')
    with pytest.raises(UserError, match=rf"must give one color \[r, g, b\] for each of 2 names, got {shape}"):
        open_ade20k(root, num_classes=2)


def test_other_class_counts_get_numbers_for_names(root: Path) -> None:
    data = open_ade20k(root, num_classes=160)
    assert (data.class_names[-1], data.assumed_names) == ("class 159", True)


def test_the_range_is_that_of_training_pictures_and_each_split_tells_what_it_passes_over(tmp_path: Path) -> None:
    stored = {split: np.linspace(0, top, 48).reshape(6, 8).astype(np.uint16) for split, top in TOPS.items()}
    for split, values in stored.items():
        for name in ("a.1", "a.2"):
            write_pair(tmp_path, split, name, np.ones((6, 8)))
            (tmp_path / f"images/{split}/{name}.jpg").unlink()
            save(Image.fromarray(values), tmp_path / f"images/{split}/{name}.png")
        (tmp_path / f"images/{split}/list{TOPS[split]}.txt").touch()
    (tmp_path / "images/validation/more.md").touch()
    data = open_ade20k(tmp_path, num_classes=3)
    assert data.pixel_range == PixelRange((0.0,), (1000.0,))
    for images, values in ((data.train, stored["training"]), (data.validation, stored["validation"])):
        assert images[1].name == "a.2"
        wanted = np.rint(values.astype(float) * 255 / 1000).clip(0, 255)
        assert np.abs(images[1].image[0].numpy() - wanted).max() <= 1  # of rounding
    assert data.notes[:2] == (
        f"note: 1 file in {tmp_path}/images/training passed over: 1 .txt",
        f"note: 2 files in {tmp_path}/images/validation passed over: 1 .txt, 1 .md",
    )
    assert data.notes[2].startswith("note: pictures of more than 8 bits a channel: [0, 1000] becomes 0 to 255")


@pytest.mark.parametrize("name", [None, "nowhere", ""])
def test_a_missing_data_set_names_the_layout_and_the_ways_out(name: str | None) -> None:
    with pytest.raises(UserError) as caught:
        open_ade20k(name)
    for part in ("data.root", "images/{training,validation}/*.jpg", "annotations/{training,validation}/*.png",
                 "data=scenes", "`mae-hydra make-data`"):  # fmt: skip
        assert part in str(caught.value)


def test_a_folder_without_the_layout_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*images/training; expected is the layout of ADE"):
        open_ade20k(tmp_path)
    (tmp_path / "images/training").mkdir(parents=True)
    with pytest.raises(UserError, match=r"there is no folder .*annotations/training; expected is the layout of ADE"):
        open_ade20k(tmp_path)
    (tmp_path / "annotations/training").mkdir(parents=True)
    with pytest.raises(UserError, match=r"there is no image in .*images/training; expected is the layout"):
        open_ade20k(tmp_path)


def test_an_image_without_its_map_is_named(root: Path) -> None:
    (root / "annotations/training/ADE_train_2.png").unlink()
    with pytest.raises(
        UserError, match=r"1 of 2 images have no class map .*annotations/training, ADE_train_2.jpg for one"
    ):
        open_ade20k(root)


def test_a_map_without_its_image_is_named(root: Path) -> None:
    (root / "images/validation/ADE_val_1.jpg").rename(root / "images/validation/other.jpg")
    with pytest.raises(UserError, match=r"1 of 1 images have no class map .*, other.jpg for one"):
        open_ade20k(root)
    write_pair(root, "validation", "other", np.zeros((6, 8)))
    with pytest.raises(UserError, match=r"1 of 2 class maps have no image .*images/validation, ADE_val_1.png for one"):
        open_ade20k(root)


def test_two_images_of_one_name_are_refused(root: Path) -> None:
    save(smooth_picture(6, 8), root / "images/training/ADE_train_1.png")
    with pytest.raises(UserError, match=r"two images of one name with .* endings, ADE_train_1\.jpg and ADE"):
        open_ade20k(root)


def test_a_map_of_another_size_names_both_files_and_sizes(root: Path) -> None:
    write_pair(root, "training", "ADE_train_2", np.zeros((8, 6)))
    with pytest.raises(
        UserError, match=r"map .*annotations/training/ADE_train_2\.png is 6x8 pixels but its image .*2\.jpg is 8x6"
    ):
        open_ade20k(root).train[1]


def test_a_label_out_of_range_names_the_file_the_value_and_what_is_accepted(root: Path) -> None:
    stored = np.zeros((6, 8))
    stored[2, 3:5] = 151
    write_pair(root, "training", "ADE_train_2", stored)
    with pytest.raises(
        UserError,
        match=r"ADE_train_2\.png holds the value 151, 2 pixels .*; "
        r"accepted are 1 to 150 \(classes\) and 0 and 255 \(ignored\)",
    ):
        open_ade20k(root).train[1]


def test_batch_size_zero_is_refused_before_any_file_is_looked_at() -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size must be at least 1, got 0"):
        open_ade20k("nowhere", batch_size=0)


@pytest.mark.parametrize(
    ("image", "labels"), [("a.JPG", "a.PNG"), ("a.Jpeg", "a.TIF"), ("a.jpg", "a.gif"), ("a.png", "a.bmp")]
)
def test_endings_are_read_in_any_spelling_and_maps_in_every_lossless_form(
    tmp_path: Path, image: str, labels: str
) -> None:
    stored = np.resize(np.arange(3, dtype=np.uint8), (6, 8))
    for split in ("training", "validation"):
        save(smooth_picture(6, 8), tmp_path / "images" / split / image)
        save(Image.fromarray(stored), tmp_path / "annotations" / split / labels)
    data = open_ade20k(tmp_path, num_classes=3, reduce_zero_label=False)
    assert torch.as_tensor(data.train[0].label).tolist() == stored.tolist()
    assert data.train[0].name == "a"


def test_two_class_maps_of_one_name_are_refused(root: Path) -> None:
    for ending in (".tif", ".tiff", ".bmp", ".gif"):
        other = save(Image.new("L", (8, 6)), root / f"annotations/training/ADE_train_1{ending}")
        with pytest.raises(UserError, match=r"two class maps of one name .*ADE_train_1\..* and ADE_train_1\."):
            open_ade20k(root)
        other.unlink()


def test_a_class_map_that_is_a_jpeg_is_refused_for_what_it_is(root: Path) -> None:
    (root / "annotations/training/ADE_train_2.png").unlink()
    save(Image.new("L", (8, 6)), root / "annotations/training/ADE_train_2.jpg")
    with pytest.raises(UserError, match=r"ADE_train_2\.jpg holds JPEG pixels; JPEG changes values, so write PNGs"):
        open_ade20k(root).train[1]


def test_stored_values_are_mapped_as_configured(tmp_path: Path) -> None:
    for split in ("training", "validation"):
        write_pair(tmp_path, split, "a", np.resize([0, 255, 128], (6, 8)))
    data = open_ade20k(tmp_path, num_classes=2, values={0: 0, 255: 1, 128: "ignore"}, ignore_index=9)
    assert torch.as_tensor(data.train[0].label).flatten().tolist()[:3] == [0, 1, 9]
