"""Folders of photos, with classes and without: `data=folder` and `data=imagenet`."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import save, smooth_picture
from PIL import Image

from mae_hydra.data import ImageData, folder, imagenet
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.listing import Names, existing_folder, file_stamp, find_images, passed_over_note
from mae_hydra.data.readers.folder import Photos, split_by_name
from mae_hydra.errors import UserError

COMMON: dict[str, Any] = {
    "image_size": [32, 48],
    "channels": 3,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.2],
    "ignore_index": 255,
    "batch_size": 4,
    "num_workers": 0,
    "train_limit": None,
}

HELD_OUT = ["92.jpg", "100.jpg", "309.jpg", "494.jpg", "544.jpg", "705.jpg"]


def open_folder(root: Path | str | None, **changes: Any) -> ImageData:
    return folder(**{"root": root, "validation_fraction": 0.2, "num_classes": 0} | COMMON | changes)


def open_imagenet(root: Path | str | None, **changes: Any) -> ImageData:
    return imagenet(**{"root": root, "num_classes": 2} | COMMON | changes)


def write_photos(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        save(smooth_picture(10, 14, seed=number), root / name)


def test_a_tree_of_photos_is_listed_sorted_without_hidden_and_other_files(tmp_path: Path) -> None:
    write_photos(tmp_path, "b.jpg", "a/z.PNG", "a/b/c.webp", "d.tiff", "e.jpeg", ".hidden.jpg", ".cache/f.jpg")
    (tmp_path / "notes.txt").write_text("no photo")
    assert find_images(tmp_path) == ["a/b/c.webp", "a/z.PNG", "b.jpg", "d.tiff", "e.jpeg"]


def test_every_format_that_pillow_reads_is_read_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    names = [
        "a.BMP", "b.gif", "c.avif", "d.jp2", "e.JPE", "f.jfif", "g.ppm", "h.Tif", "i.Jpeg", "j.webp", "k.PNG", "l.pgm",
        "m.pbm", "n.pnm",
    ]  # fmt: skip
    if ".avif" not in Image.registered_extensions():  # before Pillow 11.3
        names.remove("c.avif")
    for name in names:
        kind = {".jpe": "JPEG", ".jfif": "JPEG", ".pgm": "PPM", ".pbm": "PPM"}.get(Path(name).suffix.lower())
        picture = smooth_picture(20, 20)
        save(
            picture.convert({"l.pgm": "L", "m.pbm": "1"}.get(name, "RGB")),
            tmp_path / name,
            **{"format": kind} if kind else {},
        )
    data = open_folder(tmp_path)
    found = [of[index] for of in (data.train, data.validation) for index in range(len(of))]
    assert sorted(sample.name for sample in found) == names
    assert {sample.image.shape for sample in found} == {(3, 20, 20)}
    assert data.notes == ()


def test_what_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    write_photos(tmp_path, "a.jpg", "b/c.jpg")
    for name in ("1.jxl", "b/2.JXL", "b/list.txt", "README", ".hidden.jxl"):
        (tmp_path / name).write_text("x")
    [note] = open_folder(tmp_path).notes
    assert note.startswith(f"warning: 4 files in {tmp_path} passed over: 2 .jxl, 1 ")
    assert "1 .txt" in note
    assert "1 without an ending" in note
    for split in ("train", "val"):
        write_photos(tmp_path / "classes", f"{split}/a/1.jpg", f"{split}/b/1.jpg")
    (tmp_path / "classes/val/a/list.txt").write_text("x")
    assert open_imagenet(tmp_path / "classes").notes == (f"note: 1 file in {tmp_path}/classes/val passed over: 1 .txt",)
    (tmp_path / "only").mkdir()
    (tmp_path / "only/a.jxl").write_text("x")
    with pytest.raises(UserError, match=r"there is no photo in .*\(1 file in .*only passed over: 1 \.jxl"):
        open_folder(tmp_path / "only")


@pytest.mark.parametrize("kind", ["grey", "palette", "bits", "colours", "gif"])
def test_label_maps_among_photos_are_noticed(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        save(smooth_picture(40, 40, seed=number), tmp_path / f"images/{number}.jpg")
        labels = np.kron(rng.integers(0, 5, (8, 8)), np.ones((5, 5))).astype(np.uint8)
        made = {
            "grey": Image.fromarray(labels),
            "palette": Image.fromarray(labels).convert("P"),
            "bits": Image.fromarray(labels > 2),
            "colours": Image.fromarray(rng.integers(0, 256, (5, 3), dtype=np.uint8)[labels]),
            "gif": Image.fromarray(labels * 50),
        }[kind]
        save(made, tmp_path / f"masks/{number}.{'gif' if kind == 'gif' else 'png'}")
    [note] = open_folder(tmp_path).notes
    assert note.startswith(f"warning: about 6 of 12 pictures in {tmp_path} look like label maps")
    assert f"masks/0.{'gif' if kind == 'gif' else 'png'} beside images/0.jpg" in note
    assert "data.root=<folder>" in note
    assert open_folder(tmp_path / "images").notes == ()


def test_photos_and_drawings_with_many_colours_are_no_label_maps(tmp_path: Path) -> None:
    for number in range(4):
        save(smooth_picture(40, 40, seed=number), tmp_path / f"{number}.png")
        save(smooth_picture(40, 40, seed=number).convert("L"), tmp_path / f"grey{number}.png")
        save(smooth_picture(40, 40, seed=number), tmp_path / f"film{number}.gif")
        save(smooth_picture(9, 9, seed=number), tmp_path / f"tiny{number}.png")
    assert open_folder(tmp_path).notes == ()


def test_linked_folders_are_followed_and_a_link_back_up_ends(tmp_path: Path) -> None:
    write_photos(tmp_path, "photos/a.jpg", "elsewhere/b.jpg")
    os.symlink(tmp_path / "elsewhere", tmp_path / "photos/linked")
    os.symlink(tmp_path / "photos", tmp_path / "photos/linked/up")
    assert find_images(tmp_path / "photos") == ["a.jpg", "linked/b.jpg"]


def test_packed_names_behave_as_the_list_they_hold() -> None:
    names = ["", "a", "über/straße.jpg", os.fsdecode(b"not-utf8-\xff.jpg"), "z" * 300]
    packed = Names(names)
    assert list(packed) == names
    assert (packed[-1], packed[0]) == (names[-1], names[0])
    for part in (slice(1, 3), slice(None), slice(-2, None), slice(None, None, -2)):
        assert packed[part] == names[part]
    with pytest.raises(IndexError):
        packed[5]


def test_names_cut_elsewhere_are_other_names_and_times_count_to_the_nanosecond(tmp_path: Path) -> None:
    assert Names(["ab", "c"]).digest() == Names(["ab", "c"]).digest() != Names(["a", "bc"]).digest()
    file = tmp_path / "a"
    file.write_bytes(b"123")
    os.utime(file, ns=(1, 2_000_000_001))
    assert file_stamp(file) == "3 2000000001"
    for look in (lambda: file_stamp(tmp_path / "gone"), lambda: find_images(tmp_path / "gone")):
        with pytest.raises(UserError, match=r"cannot (read|list the folder) .*gone: No such file"):
            look()


def test_eight_kinds_of_files_are_named_and_pictures_among_them_are_a_warning() -> None:
    kinds = Counter({f".{letter}": 9 - place for place, letter in enumerate("abcdefgh")})
    named = ", ".join(f"{count} {ending}" for ending, count in kinds.items())
    assert passed_over_note("x", kinds) == [f"note: 44 files in x passed over: {named}"]
    assert passed_over_note("x", kinds | Counter({".dcm": 1})) == [
        f"warning: 45 files in x passed over: {named}, ...; convert the pictures among them, of which only some "
        "formats are read"
    ]
    assert passed_over_note("x", Counter()) == []


def test_a_root_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "set").mkdir()
    assert existing_folder("~/set", "") == tmp_path / "set"
    for unset in (None, ""):
        with pytest.raises(UserError, match=r"data\.root is not set; give it"):
            existing_folder(unset, "give it")


def test_a_folder_gives_every_photo_once_and_the_same_split_each_time(tmp_path: Path) -> None:
    names = [f"trip_{number % 3}/{number:02d}.png" for number in range(20)]
    write_photos(tmp_path, *names)
    data = open_folder(tmp_path)
    train = [data.train[index].name for index in range(len(data.train))]
    validation = [data.validation[index].name for index in range(len(data.validation))]
    assert len(validation) == 4
    assert sorted(train + validation) == sorted(names)
    assert train == [open_folder(tmp_path).train[index].name for index in range(len(train))]
    assert (data.target, data.image_size, data.num_classes, data.train[0].label) == ("none", (32, 48), 0, None)
    assert data.train[0].image.shape == (3, 10, 14)


def test_the_split_reaches_the_fraction_exactly_and_leaves_neither_side_empty() -> None:
    names = [f"{number}.jpg" for number in range(1000)]
    for fraction, expected in ((0.05, 50), (0.0001, 1), (0.9999, 999)):
        train, validation = split_by_name(names, fraction)
        assert (len(train), len(validation)) == (1000 - expected, expected)
        assert set(train) | set(validation) == set(names)
    assert [len(side) for side in split_by_name(["a", "b"], 0.01)] == [1, 1]
    assert split_by_name(["only.jpg"], 0.5) == (["only.jpg"], ["only.jpg"])
    # Runs go on with the split that they began with.
    assert split_by_name(names, 0.006)[1] == HELD_OUT


def test_few_photos_change_sides_when_one_is_added() -> None:
    names = [f"{number}.jpg" for number in range(200)]
    before, after = (set(split_by_name(list_of, 0.1)[1]) for list_of in (names, [*names, "new.jpg"]))
    assert len(before ^ after) <= 2


def test_photos_can_be_read_as_grey(tmp_path: Path) -> None:
    write_photos(tmp_path, "a.jpg", "b.png")
    assert open_folder(tmp_path, channels=1, mean=[0.5], std=[0.2]).train[0].image.shape == (1, 10, 14)


@pytest.mark.parametrize(
    ("root", "problem"),
    [(None, "data.root is not set"), ("nowhere", "data.root=nowhere is not there"), (__file__, "is not a folder")],
)
def test_a_missing_folder_says_how_to_give_one(root: str | None, problem: str) -> None:
    with pytest.raises(UserError, match=rf"{problem}; give a folder of photos \(.jpg .* with data.root=<folder>"):
        open_folder(root)


def test_an_empty_folder_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(UserError, match=r"there is no photo in data.root=.*\.jpg \.jpeg \.png \.webp \.tif \.tiff"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "data.batch_size must be at least 1, got 0"),
        ({"batch_size": -3}, "data.batch_size must be at least 1, got -3"),
        ({"num_workers": -1}, "data.num_workers must not be negative, got -1"),
        ({"channels": 2}, "data.mean must hold one value per channel"),
        ({"channels": 0}, "data.channels must be at least 1, got 0"),
        ({"bands": [1, 2]}, r"data.bands names 2 bands: set data.channels=2, got 3"),
        ({"bands": [0, 1, 2]}, "data.bands must name bands of the files, counted from 1"),
        ({"shown_bands": [1, 2, 9]}, "data.shown_bands must be three of the bands 1, 2, 3, or one"),
        ({"num_classes": 5}, "data.num_classes must be 0 for data=folder"),
        ({"validation_fraction": 1.0}, r"data.validation_fraction must lie in \(0, 1\), got 1.0"),
        ({"validation_fraction": 0}, r"data.validation_fraction must lie in \(0, 1\), got 0"),
        ({"mean": [0.5]}, r"data.mean must hold one value per channel \(3\), got \[0.5\]"),
        ({"std": [0.2, 0.0, 0.2]}, "data.std must be positive"),
        ({"image_size": [32]}, "data.image_size must be one side or"),
        ({"image_size": 0}, "data.image_size must be one side or"),
    ],
)
def test_a_bad_value_is_named_with_what_is_accepted(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_photos(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path, **changes)


def write_classes(root: Path) -> None:
    write_photos(root / "train", "dog/1.jpg", "dog/deep/2.jpg", "cat/3.jpg")
    write_photos(root / "val", "cat/4.jpg", "dog/5.jpg")


def test_class_folders_give_ids_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_classes(tmp_path)
    data = open_imagenet(tmp_path)
    assert (data.target, data.class_names, data.palette.shape) == ("class", ("cat", "dog"), (2, 3))
    assert [(sample.name, sample.label) for sample in (data.train[i] for i in range(3))] == [
        ("cat/3.jpg", 0), ("dog/1.jpg", 1), ("dog/deep/2.jpg", 1),
    ]  # fmt: skip
    assert [data.validation[index].label for index in range(2)] == [0, 1]


def deep(path: Path, top: int) -> None:
    save(Image.fromarray(np.linspace(0, top, 140).reshape(10, 14).astype(np.uint16)), path)


def test_the_range_is_that_of_training_photos_and_holds_for_all(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(4)]
    train, [held] = split_by_name(names, 0.2)
    for name in names:
        deep(tmp_path / "photos" / name, 4000 if name == held else 1000)
        deep(tmp_path / f"classes/{'val' if name == held else 'train'}/a/{name}", 4000 if name == held else 1000)
    for data in (open_folder(tmp_path / "photos"), open_imagenet(tmp_path / "classes", num_classes=1)):
        assert data.pixel_range == PixelRange((0.0,), (1000.0,))
        assert data.notes[0].startswith("note: pictures of more than 8 bits a channel: [0, 1000] becomes 0 to 255")
        beyond = data.validation[0].image[0, 3:]  # what of validation is brighter is white
        assert (beyond.min(), data.validation[0].image[0, 0, 1]) == (255, 7)
        assert len(data.train) == len(train) == 3
        assert data.validation.header(0).deep  # type: ignore[attr-defined]
        assert torch.equal(data.validation.undecoded(0).image, data.validation[0].image)  # type: ignore[attr-defined]
    for changed in (names[:3], [*names, "4.png"], ["x.png", *names[1:]]):
        assert Photos(tmp_path, changed, 3).listing() != Photos(tmp_path, names, 3).listing()
    stored = Photos(tmp_path / "photos", names, 3, np.array([7, 8, 9, 6])).stored(1)
    assert stored == (names[1], (tmp_path / "photos" / names[1]).read_bytes(), 8)
    ranges = [PixelRange((0.0,), (top,)) for top in (1000.0, 2000.0)]
    digests = {Photos(tmp_path / "photos", names, 3, pixel_range=each).digest() for each in (*ranges, None)}
    assert len(digests) == 3


def test_a_wrong_number_of_classes_says_both_and_what_to_set(tmp_path: Path) -> None:
    write_classes(tmp_path)
    with pytest.raises(UserError, match=r"2 class folders .* data.num_classes is 1000; set data.num_classes=2"):
        open_imagenet(tmp_path, num_classes=1000)


def test_a_flat_validation_folder_says_how_to_sort_it(tmp_path: Path) -> None:
    write_classes(tmp_path)
    write_photos(tmp_path / "val", "ILSVRC2012_val_00000001.png")
    with pytest.raises(UserError, match=r"val holds 1 images that lie in no class folder, ILSVRC2012_val_00000001"):
        open_imagenet(tmp_path)


def test_a_validation_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path)
    write_photos(tmp_path / "val", "horse/6.jpg")
    with pytest.raises(UserError, match=r"val has 1 class folders .* horse for one"):
        open_imagenet(tmp_path)


def test_a_missing_split_names_the_expected_layout(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not there; expected are class folders, train/<class>/\*.jpg"):
        open_imagenet("nowhere")
    write_photos(tmp_path / "train", "dog/1.jpg")
    with pytest.raises(UserError, match=r"has no folder val/; expected are class folders"):
        open_imagenet(tmp_path)
    (tmp_path / "val/dog").mkdir(parents=True)
    with pytest.raises(UserError, match=r"there is no image in .*val; expected are class folders"):
        open_imagenet(tmp_path)
