"""ImageNet's variants: subsets of classes by a list, corruptions in groups."""

import numpy as np
import pytest
from pictures import save, smooth_picture
from PIL import Image

from mae_hydra.data import imagenet_variant
from mae_hydra.errors import UserError

SETTINGS = {
    "image_size": 32, "channels": 3, "mean": [0.5] * 3, "std": [0.25] * 3, "num_classes": 4, "ignore_index": 255,
    "batch_size": 2, "num_workers": 0,
}  # fmt: skip


def make(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        if not name.endswith(".exr"):
            save(smooth_picture(40, 48), root / name)


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("n01 tench\nn02 goldfish\nn03 shark\nn04 ray\n")
    return path


def test_a_subset_has_the_models_class_ids_and_says_which_occur(tmp_path, classes):
    make(tmp_path / "a", ["n04/x.jpg", "n02/y.jpg", "n02/z.jpg"])
    data = imagenet_variant(root=str(tmp_path / "a"), classes=str(classes), **SETTINGS)
    assert [data.validation[i].label for i in range(3)] == [1, 1, 3]
    assert data.present_classes == (1, 3)
    assert data.class_names == ("n01", "n02", "n03", "n04")
    assert not data.grouped
    assert len(data.train) == 0


def test_a_folder_of_class_folders_is_a_list_of_classes(tmp_path):
    make(tmp_path / "val", [f"n0{n}/x.jpg" for n in (3, 1, 4, 2)])
    make(tmp_path / "sketch", [f"n0{n}/x.jpg" for n in (1, 2, 3, 4)])
    data = imagenet_variant(root=str(tmp_path / "sketch"), classes=str(tmp_path / "val"), **SETTINGS)
    assert data.present_classes is None


def test_names_keep_their_order_and_a_folder_above_any_class_is_a_group(tmp_path, monkeypatch):
    make(tmp_path / "v", ["n01/x.png", "fog/n02/y.png"])
    (tmp_path / "v/list.txt").touch()
    (tmp_path / "names.txt").write_text("n02 goldfish\nn01 tench\n")
    (tmp_path / "val/.hidden").mkdir(parents=True)
    for name in ("n01", "n02"):
        (tmp_path / "val" / name).mkdir()
    settings = SETTINGS | {"num_classes": 2}
    data = imagenet_variant(root=str(tmp_path / "v"), classes=str(tmp_path / "names.txt"), **settings)
    assert [(sample.name, sample.label) for sample in (data.validation[i] for i in range(2))] == [
        ("fog/n02/y.png", 0), ("n01/x.png", 1),
    ]  # fmt: skip
    assert (data.grouped, data.present_classes, data.class_names) == (True, None, ("n02", "n01"))
    assert data.notes == (f"note: 1 file in {tmp_path / 'v'} passed over: 1 .txt",)
    monkeypatch.setenv("HOME", str(tmp_path))
    data = imagenet_variant(root=str(tmp_path / "v"), classes="~/val", **settings)
    assert (data.class_names, data.validation[0].label) == (("n01", "n02"), 1)
    for name in ("v/n01/x.png", "v/fog/n02/y.png"):
        Image.fromarray(np.arange(0, 4000, 40, np.uint16).reshape(10, 10)).save(tmp_path / name)
    data = imagenet_variant(root=str(tmp_path / "v"), classes=str(tmp_path / "val"), **settings)
    assert (data.pixel_range.low, data.pixel_range.high) == ((0.0,), (3960.0,))
    assert data.validation[1].image.max() == 255
    assert "more than 8 bits" in data.notes[1]


def test_corruptions_and_severities_are_groups(tmp_path, classes):
    make(tmp_path / "c", [f"{kind}/{level}/n01/x.jpg" for kind in ("fog", "snow") for level in (1, 2)])
    data = imagenet_variant(root=str(tmp_path / "c"), classes=str(classes), **SETTINGS)
    assert data.grouped
    assert data.validation[0].name == "fog/1/n01/x.jpg"
    assert {data.validation[i].label for i in range(4)} == {0}


@pytest.mark.parametrize(
    ("names", "listed", "message"),
    [
        (["n09/x.jpg"], "n01\nn02\nn03\nn04", "does not name, n09 for one"),
        (["x.jpg"], "n01\nn02\nn03\nn04", "lies in no class folder"),
        (["n01/x.jpg"], "n01\nn02", "names 2 classes, data.num_classes is 4"),
        (["n01/x.jpg"], "n01\nn02\nn03\nn04\nn05", "names 5 classes, data.num_classes is 4"),
        (["n01/x.exr"], "n01\nn02\nn03\nn04", "there is no image in"),
        (["n01/x.jpg"], "n01\nn02\nn02\nn04", "names the class n02 more than once"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, names, listed, message):
    make(tmp_path / "a", names)
    (tmp_path / "list.txt").write_text(listed)
    with pytest.raises(UserError, match=message):
        imagenet_variant(root=str(tmp_path / "a"), classes=str(tmp_path / "list.txt"), **SETTINGS)


def test_a_missing_list_says_what_it_should_be(tmp_path):
    make(tmp_path / "a", ["n01/x.jpg"])
    with pytest.raises(UserError, match="give a text file with the name of a class folder in each line"):
        imagenet_variant(root=str(tmp_path / "a"), classes=str(tmp_path / "none.txt"), **SETTINGS)
