"""Photos with a class each, in class folders or told by lists, as public sets and people lay them out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import save, smooth_picture
from test_photo_sets import COMMON

from mae_hydra.data import ImageData, classification
from mae_hydra.data.dataset import ImageSet
from mae_hydra.errors import UserError

USUAL = {"train": "train", "validation": "val", "test": "test"}


def opened(root: Path, **changes: Any) -> ImageData:
    settings = {
        "root": str(root), "images": ".", "splits": USUAL, "validation_fraction": 0.25, "lists": None,
        "columns": [0, 1], "classes": None, "num_classes": 2,
    }  # fmt: skip
    return classification(**settings | COMMON | changes)


def photos(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        save(smooth_picture(8, 8, number), root / name)
    return root


def classes_of(images: ImageSet, data: ImageData) -> dict[str, str]:
    samples = [images[place] for place in range(len(images))]
    return {sample.name: data.class_names[sample.label] for sample in samples}  # type: ignore[index]


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def test_class_folders_without_a_split_lend_a_share_to_validation(tmp_path: Path) -> None:
    root = photos(tmp_path, *(f"Images/{name}/{n}.tif" for name in ("river", "airplane") for n in range(6)))
    data = opened(root, images="Images")
    found = classes_of(data.train, data) | classes_of(data.validation, data)
    assert data.class_names == ("airplane", "river")
    assert found == {f"Images/{name}/{n}.tif": name for name in ("river", "airplane") for n in range(6)}
    assert (len(data.train), len(data.validation)) == (9, 3)
    assert classes_of(opened(root, images="Images").validation, data) == classes_of(data.validation, data)
    with pytest.raises(UserError, match=r"nothing says which photos are for testing"):
        data.test()  # type: ignore[misc]


def test_tiny_imagenet_is_read_as_it_is_downloaded(tmp_path: Path) -> None:
    ids = ("n02", "n01")
    photos(tmp_path, *(f"train/{name}/images/{name}_{n}.JPEG" for name in ids for n in range(2)))
    photos(tmp_path, "val/images/val_0.JPEG", "val/images/val_1.JPEG", "test/images/test_0.JPEG")
    write(tmp_path / "val/val_annotations.txt", "val_1.JPEG\tn01\t0\t32\t44\t62", "val_0.JPEG\tn02\t0\t0\t9\t9")
    for name in ids:
        write(tmp_path / f"train/{name}/{name}_boxes.txt", f"{name}_0.JPEG\t0\t0\t9\t9")
    data = opened(tmp_path, images="{split}", lists={"validation": "val/val_annotations.txt"})
    assert classes_of(data.validation, data) == {"val/images/val_0.JPEG": "n02", "val/images/val_1.JPEG": "n01"}
    assert set(classes_of(data.train, data).values()) == {"n01", "n02"}
    with pytest.raises(UserError, match=r"1 of 1 photos of test lie in no class folder.*or|test/images") as refused:
        data.test()  # type: ignore[misc]
    assert "images" in str(refused.value)


LISTS: dict[str, tuple[Sequence[str], Mapping[str, Any], Mapping[str, str]]] = {
    # lines, keys, class by photo
    "names": (["a/0.jpg dog", "1.jpg cat"], {}, {"p/a/0.jpg": "dog", "p/1.jpg": "cat"}),
    "a comma": (['"a/0.jpg", "dog, big"', "1.jpg,cat"], {}, {"p/a/0.jpg": "dog, big", "p/1.jpg": "cat"}),
    "headings": (
        ["label,id", "x,0", "y,1"], {"columns": ["id", "Label"]}, {"p/a/0.jpg": "x", "p/1.jpg": "y"},
    ),
    "columns": (["x,5,a/0.jpg", "y,5,1.jpg"], {"columns": [2, 0]}, {"p/a/0.jpg": "x", "p/1.jpg": "y"}),
    "numbers": (["a/0.jpg 0", "1.jpg 2"], {"num_classes": 4}, {"p/a/0.jpg": "0", "p/1.jpg": "2"}),
    "numbers from 1": (["a/0.jpg 1", "1.jpg 2"], {}, {"p/a/0.jpg": "1", "p/1.jpg": "2"}),
    "numbers of names": (
        ["a/0.jpg 1", "1.jpg 0"], {"classes": ["cat", "dog"]}, {"p/a/0.jpg": "dog", "p/1.jpg": "cat"},
    ),
    "by another machine": (["/data/p/a/0.jpg\tdog", "C:\\p\\1.jpg\tcat"], {}, {"p/a/0.jpg": "dog", "p/1.jpg": "cat"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", LISTS)
def test_lists_tell_classes(tmp_path: Path, kind: str) -> None:
    lines, keys, expected = LISTS[kind]
    photos(tmp_path, "p/a/0.jpg", "p/1.jpg", "p/2 b.jpg")
    write(tmp_path / "train.csv", *lines)
    first = next(line for line in lines if "0" in line)
    write(tmp_path / "val.csv", *lines[: lines.index(first) + 1])
    data = opened(tmp_path, images="p", lists="{split}.csv", splits=USUAL, **keys)
    assert classes_of(data.train, data) == expected
    assert classes_of(data.validation, data) == {"p/a/0.jpg": expected["p/a/0.jpg"]}


def test_a_list_goes_before_folders_and_each_side_has_its_own_classes(tmp_path: Path) -> None:
    photos(tmp_path, "a/0.jpg", "b/1.jpg", "b/2.jpg")
    write(tmp_path / "train.txt", "a/0.jpg 10", "b/1.jpg 9")
    write(tmp_path / "val.txt", "b/1.jpg 9")
    write(tmp_path / "test.txt", "b/2.jpg 10")
    data = opened(tmp_path, lists="{split}.txt")
    assert data.class_names == ("9", "10")  # numbers in their order
    assert classes_of(data.train, data) == {"a/0.jpg": "10", "b/1.jpg": "9"}
    assert classes_of(data.validation, data) == {"b/1.jpg": "9"}
    assert classes_of(data.test(), data) == {"b/2.jpg": "10"}  # type: ignore[misc]
    [note] = data.notes
    assert note.startswith("warning: 1 of 1 photos of validation are trained on too, b/1.jpg for one")
    write(tmp_path / "test.txt", "b/2.jpg 10", "b/3.jpg 10")
    with pytest.raises(UserError, match=r"the list of test names 1 pictures that are not in .*, b/3\.jpg for one"):
        data.test()  # type: ignore[misc]


def test_names_that_are_numbers_are_names(tmp_path: Path) -> None:
    photos(tmp_path, "1/a.jpg", "0/b.jpg", "0/c.jpg")
    data = opened(tmp_path, classes=["1", "0"], validation_fraction=0.5)
    found = classes_of(data.train, data) | classes_of(data.validation, data)
    assert found == {"1/a.jpg": "1", "0/b.jpg": "0", "0/c.jpg": "0"}
    photos(tmp_path, "b/d.jpg", "c/e.jpg")
    (tmp_path / "c/list.txt").touch()
    mixed = opened(tmp_path, validation_fraction=0.8, num_classes=4)
    assert (mixed.class_names, len(mixed.validation)) == (("0", "1", "b", "c"), 4)  # numbers first
    assert mixed.notes == (f"note: 1 file in {tmp_path} (train) passed over: 1 .txt",)


def test_classes_of_held_out_photos_count_and_those_of_a_split_of_its_own_must_be_known(tmp_path: Path) -> None:
    photos(tmp_path, *(f"all/{name}/0.jpg" for name in "abcd"), "val/e/0.jpg")
    assert opened(tmp_path, images="all", validation_fraction=0.5, num_classes=4).class_names == tuple("abcd")
    photos(tmp_path, *(f"train/{name}/0.jpg" for name in "ab"))
    with pytest.raises(UserError, match=r"val/e/0\.jpg of validation has the class e, which is none of 2 \(a, b\)"):
        opened(tmp_path, images="{split}")


def test_arrays_have_the_range_of_those_that_are_trained_on(tmp_path: Path) -> None:
    for split, top in (("train", 100), ("val", 900)):
        (tmp_path / split / "a").mkdir(parents=True)
        values = np.linspace(0, top, 240).reshape(6, 8, 5).round()
        np.save(tmp_path / split / "a/0.npy", values.astype(np.uint16))
    bands: dict[str, Any] = {"channels": 5, "mean": [0.5] * 5, "std": [0.2] * 5}
    data = opened(tmp_path, images="{split}", num_classes=1, **bands)
    assert data.pixel_range is not None
    assert (min(data.pixel_range.high), max(data.pixel_range.high)) == (98.0, 100.0)
    assert int(data.validation[0].image.to(torch.int32).flatten()[-1]) == 65535


def test_a_name_with_blanks_stands_before_its_class(tmp_path: Path) -> None:
    photos(tmp_path, "a b/c d.jpg", "a b/e.jpg")
    write(tmp_path / "all.txt", "a b/c d.jpg two words", "a b/e.jpg one")
    data = opened(tmp_path, lists={"train": "all.txt"}, validation_fraction=0.5)
    assert classes_of(data.train, data) | classes_of(data.validation, data) == {
        "a b/c d.jpg": "two",
        "a b/e.jpg": "one",
    }


REFUSED: dict[str, tuple[Sequence[str], Mapping[str, Any], str]] = {
    "no class": (["0.jpg"], {}, r"lie in no class folder and no list tells their class, 0\.jpg"),
    "two classes": (["0.jpg a", "0.jpg b"], {}, r"tells two classes of 0\.jpg, a and b"),
    "count": (["0.jpg a", "1.jpg b"], {"num_classes": 3}, r"have 2 classes but data\.num_classes is 3"),
    "names": (["0.jpg a", "1.jpg b"], {"classes": ["a", "c"]}, r"has the class b, which is none of 2 \(a, c\)"),
    "not there": (["7.jpg a"], {}, r"names 1 pictures that are not in"),
    "no place": (["0.jpg,a", "1.jpg,b"], {"columns": [0, 5]}, r"has no column 5: its lines have 2, counted from 0"),
    "no column": (["id,diagnosis", "0,a"], {"columns": ["id", "label"]}, r"has no column label; .* id, diagnosis"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, kind: str) -> None:
    lines, keys, said = REFUSED[kind]
    photos(tmp_path, "0.jpg", "1.jpg")
    write(tmp_path / "all.csv", *lines)
    with pytest.raises(UserError, match=said):
        opened(tmp_path, lists={"train": "all.csv", "validation": "all.csv"}, **keys)
    for columns in ([0], ["id", "id"], [0, -1]):
        with pytest.raises(ValueError, match="must name two columns"):
            opened(tmp_path, columns=columns)
