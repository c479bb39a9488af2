"""What a look at a folder finds, without a word of configuration: layouts as people have them, and hostile ones."""

import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pictures import save, smooth_picture
from PIL import Image

from mae_hydra.data.looking import Found, folders, look
from mae_hydra.data.looking.advice import advise
from mae_hydra.data.looking.folders import look_at_folder
from mae_hydra.data.looking.places import Group
from mae_hydra.data.looking.walk import walk
from mae_hydra.errors import UserError

HEIGHT, WIDTH = 48, 64
ADE20K = "images/{split}/{n}.jpg", "annotations/{split}/{n}.png"
LISTED = "train", "val"
SPLITS = "training", "validation"


def photo(path: Path, seed: int = 0) -> None:
    save(smooth_picture(HEIGHT, WIDTH, seed), path)


def label_map(path: Path, values: Sequence[int] = (0, 1, 2), seed: int = 0) -> None:
    """Blocks, each of one of the values, all of which occur."""
    rng = np.random.default_rng(seed)
    coarse = np.concatenate([np.asarray(values), rng.choice(values, 48 - len(values))]).reshape(6, 8)
    save(Image.fromarray(np.kron(coarse, np.ones((8, 8))).astype(np.uint8)), path)


def colour_map(path: Path) -> None:
    coarse = np.zeros((6, 8, 3), np.uint8)
    coarse[:, :4] = 255, 0, 0
    save(Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8))), path)


def labelled(root: Path, images: str, maps: str, splits: Sequence[str], each: int = 3, **options: object) -> Path:
    """`images` and `maps` are patterns with {split} and {n}."""
    for split in splits:
        for number in range(each):
            photo(root / images.format(split=split, n=f"{number:03d}"), number)
            label_map(root / maps.format(split=split, n=f"{number:03d}"), seed=number, **options)  # type: ignore[arg-type]
    return root


def named_counts(found: Found) -> dict[str, int]:
    assert found.pairs is not None
    return {split.name: count for split, count in found.pairs.counts.items()}


LAYOUTS = {
    # images, maps: files; then folder and suffix of both as they are to be found
    "ade20k": (
        "images/{split}/{n}.jpg",
        "annotations/{split}/{n}.png",
        "images/{split}",
        "annotations/{split}",
        "",
        "",
    ),
    "split first": ("{split}/images/{n}.jpg", "{split}/masks/{n}.png", "{split}/images", "{split}/masks", "", ""),
    "camvid": ("{split}/{n}.png", "{split}annot/{n}.png", "{split}", "{split}annot", "", ""),
    "cityscapes": (
        "leftImg8bit/{split}/ulm/ulm_{n}_leftImg8bit.png",
        "gtFine/{split}/ulm/ulm_{n}_gtFine_labelTrainIds.png",
        "leftImg8bit/{split}",
        "gtFine/{split}",
        "_leftImg8bit",
        "_gtFine_labelTrainIds",
    ),
    "deepglobe": ("{split}/{n}_sat.jpg", "{split}/{n}_mask.png", "{split}", "{split}", "_sat", "_mask"),
    "mixed": ("{split}/{n}.jpg", "{split}/{n}_mask.png", "{split}", "{split}", "", "_mask"),
    "one ending": ("{split}/{n}.png", "{split}/{n}_label.png", "{split}", "{split}", "", "_label"),
    "dotted": ("{split}/p.{n}.jpg", "{split}/p.{n}.seg.png", "{split}", "{split}", "", ".seg"),
    "other words": ("{split}_images/{n}_a.jpg", "{split}_gt/{n}_b.png", "{split}_images", "{split}_gt", "_a", "_b"),
    "deep": (
        "set/images/{split}/{n}.jpg",
        "set/labels/{split}/{n}.png",
        "set/images/{split}",
        "set/labels/{split}",
        "",
        "",
    ),
    "regions": (
        "{split}/urban/img/{n}.jpg",
        "{split}/urban/mask/{n}.png",
        "{split}/urban/img",
        "{split}/urban/mask",
        "",
        "",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_photos_and_their_maps_are_told_apart_and_paired(tmp_path, layout):
    images, maps, *expected = LAYOUTS[layout]
    found = look(labelled(tmp_path, images, maps, ("train", "val")))
    pairs = found.pairs
    assert found.kind == "maps"
    assert pairs is not None
    assert [pairs.images.folder, pairs.maps.folder, pairs.images.suffix, pairs.maps.suffix] == expected
    assert named_counts(found) == {"train": 3, "val": 3}
    assert not pairs.images_alone
    assert not pairs.maps_alone
    assert pairs.images.pixels.sizes == ((HEIGHT, WIDTH),) * 3
    assert set(pairs.labels.shares()) == {0, 1, 2}
    assert pairs.labels.read == pairs.labels.of == 6


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("training", "validation"), ["train", "validation"]),
        (("Train", "Valid", "Test"), ["train", "validation", "test"]),
        (("train2017", "val2017"), ["train", "validation"]),
        (("train", "dev", "testing"), ["train", "validation", "test"]),
    ],
)
def test_splits_are_known_by_their_names(tmp_path, names, sides):
    found = look(labelled(tmp_path, "images/{split}/{n}.jpg", "masks/{split}/{n}.png", names))
    assert found.pairs is not None
    assert [split.side for split in found.pairs.counts] == sides
    folders = [found.pairs.images.folders[split] for split in found.pairs.counts]
    assert folders == [f"images/{name}" for name in names]


def test_folders_between_split_and_files_are_one_pattern(tmp_path):
    for region in ("rural", "urban"):
        labelled(
            tmp_path, f"{{split}}/{region}/images/{{n}}.jpg", f"{{split}}/{region}/masks/{{n}}.png", ("train", "val")
        )
    found = look(tmp_path)
    assert found.pairs is not None
    assert (found.pairs.images.folder, found.pairs.maps.folder) == ("{split}/*/images", "{split}/*/masks")
    assert named_counts(found) == {"train": 6, "val": 6}


def test_shares_are_those_of_the_pixels(tmp_path):
    photo(tmp_path / "images/train/a.jpg")
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:12] = 4
    save(Image.fromarray(values), tmp_path / "masks/train/a.png")
    found = look(tmp_path)
    assert found.pairs is not None
    assert found.pairs.labels.shares() == {0: 0.75, 4: 0.25}


def test_colours_are_no_values(tmp_path):
    photo(tmp_path / "images/train/a.jpg")
    colour_map(tmp_path / "masks/train/a.png")
    labels = look(tmp_path).pairs.labels  # type: ignore[union-attr]
    assert labels.colours == (((0, 0, 0), 0.5), ((255, 0, 0), 0.5))
    assert not labels.shares()
    assert advise(look(tmp_path)).ways[0].keys["colours"] == {"0 0 0": 0, "255 0 0": 1}


def test_what_is_alone_is_counted_by_split(tmp_path):
    labelled(tmp_path, "images/{split}/{n}.jpg", "masks/{split}/{n}.png", ("train", "val"))
    photo(tmp_path / "images/val/more.jpg")
    (tmp_path / "images/train/000.jpg").unlink()
    pairs = look(tmp_path).pairs
    assert pairs is not None
    assert {split.name: count for split, count in pairs.images_alone.items()} == {"val": 1}
    assert {split.name: count for split, count in pairs.maps_alone.items()} == {"train": 1}


def test_of_several_maps_the_likeliest_is_taken_and_the_others_are_named(tmp_path):
    labelled(tmp_path, "images/{split}/{n}.jpg", "gt/{split}/{n}_labelTrainIds.png", ("train", "val"))
    labelled(tmp_path, "images/{split}/{n}.jpg", "gt/{split}/{n}_labelIds.png", ("train", "val"))
    for split in ("train", "val"):
        colour_map(tmp_path / f"gt/{split}/000_color.png")
    pairs = look(tmp_path).pairs
    assert pairs is not None
    assert pairs.maps.suffix == "_labelTrainIds"
    assert [part.suffix for part in pairs.others] == ["_labelIds", "_color"]


def test_class_folders_are_no_maps_even_where_drawings_have_few_values(tmp_path):
    for split, digit in (("train", "0"), ("train", "1"), ("val", "0"), ("val", "1")):
        for number in range(3):
            label_map(tmp_path / f"{split}/{digit}/{number}.png", (0, 255), seed=number)
    found = look(tmp_path)
    assert found.kind == "classes"
    assert {split.name: names for split, names in found.classes.items()} == {"train": ("0", "1"), "val": ("0", "1")}
    [way] = advise(found).ways
    assert (way.model, way.data, way.keys["num_classes"]) == ("classifier_vitt", "imagenet", 2)


def test_photos_alone_are_photos(tmp_path):
    for number in range(4):
        photo(tmp_path / f"trip/day {number % 2}/{number}.jpg")
    found = look(tmp_path)
    assert found.pairs is None
    assert [way.data for way in advise(found).ways] == ["folder", "classification"]  # days are hardly classes
    (tmp_path / "trip/day 0").rename(tmp_path / "trip/sea")
    assert [way.data for way in advise(look(tmp_path)).ways] == ["classification", "folder"]


READINGS: list[tuple[tuple[int, ...], list[tuple[int, bool, int]]]] = [
    # values in every map; (classes, reduce_zero_label, ignore_index), the best first
    ((0, 1), [(2, False, 255)]),
    ((1, 2, 3), [(3, True, 255)]),
    ((0, 1, 2, 255), [(3, False, 255), (2, True, 255)]),
    ((0, 1, 2, 3), [(4, False, 255), (3, True, 255), (3, False, 3)]),
]


@pytest.mark.parametrize(("values", "expected"), READINGS)
def test_readings_of_the_values_best_first(tmp_path, values, expected):
    root = labelled(tmp_path, *ADE20K, SPLITS, values=values)
    ways = advise(look(root)).ways
    read = [
        (w.keys["num_classes"], w.keys.get("reduce_zero_label", True), w.keys.get("ignore_index", 255)) for w in ways
    ]
    assert read == expected


def test_the_number_behind_the_last_class_is_ignored_where_it_is_in_every_map_as_no_class_is(tmp_path):
    labelled(tmp_path, *ADE20K, SPLITS, values=(0, 1, 2, 3))
    for number, held in enumerate(((0, 1, 3), (0, 2, 3), (1, 2, 3))):
        label_map(tmp_path / f"annotations/training/{number:03d}.png", held)
    assert advise(look(tmp_path)).ways[0].keys["ignore_index"] == 3


def test_suffixes_that_both_have_are_a_part_of_the_stem(tmp_path):
    for kind in ("dr", "g", "h"):  # HRF's
        labelled(tmp_path, f"images/{{n}}_{kind}.JPG", f"manual1/{{n}}_{kind}.tif", [""])
    found = look(tmp_path)
    assert named_counts(found) == {"": 9}
    assert found.pairs is not None
    assert not found.pairs.others


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, []),
        (1, ["2 other pictures lie beside them (a); look at a folder by itself"]),
        (4, ["8 other pictures lie beside them (a, b, c, d); look at a folder by itself"]),
        (5, ["10 other pictures lie beside them (a, b, c, d, …); look at a folder by itself"]),
    ],
)
def test_what_is_no_part_of_the_pairs_is_counted_and_its_folders_are_named(count, words):
    photos, maps, *others = (Group((name,), "", (".png",), (f"{name}/1", f"{name}/2")) for name in "xyabcde")  # type: ignore[arg-type]
    pairs: Any = [SimpleNamespace(images=photos, maps=maps)]
    assert list(folders._beside([photos, maps, *others[:count]], pairs)) == words


def test_two_sets_of_maps_beside_their_photos(tmp_path):
    for observer in ("1stHO", "2ndHO"):  # CHASE_DB1's
        labelled(tmp_path, "Image_{n}L.jpg", f"Image_{{n}}L_{observer}.png", [""])
    pairs = look(tmp_path).pairs
    assert pairs is not None
    assert [part.suffix for part in (pairs.images, pairs.maps, *pairs.others)] == ["", "_1stHO", "_2ndHO"]


def test_masks_of_0_and_255_are_listed_values(tmp_path):
    root = labelled(tmp_path, *ADE20K, SPLITS, values=(0, 255))
    [way] = advise(look(root)).ways
    assert way.keys["values"] == {0: 0, 255: 1}


def test_the_names_of_classes_json_decide_how_many_there_are(tmp_path):
    root = labelled(tmp_path, *ADE20K, SPLITS)
    (root / "classes.json").write_text('{"names": ["a", "b", "c", "d", "e"]}')
    ways = advise(look(root)).ways
    assert {way.keys["num_classes"] for way in ways} == {5}


def test_links_of_folders_that_lead_back_hidden_and_foreign_files(tmp_path):
    labelled(tmp_path, "images/{split}/{n}.jpg", "masks/{split}/{n}.png", ("train", "val"))
    (tmp_path / "images/again").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "__MACOSX").mkdir()
    photo(tmp_path / "__MACOSX/_000.jpg")
    photo(tmp_path / "images/train/.hidden.jpg")
    os.mkfifo(tmp_path / "images/train/pipe.jpg")
    (tmp_path / "notes.pdf").write_bytes(b"x")
    found = look(tmp_path)
    assert named_counts(found) == {"train": 3, "val": 3}
    assert found.passed_over == {".pdf": 1}
    assert any(note.startswith("links that lead back") and note.endswith(": 1") for note in found.notes)
    assert any(note.startswith("hidden files") and note.endswith(": 2") for note in found.notes)


def test_damaged_files_are_said_and_the_rest_is_read(tmp_path):
    labelled(tmp_path, "images/{split}/{n}.jpg", "masks/{split}/{n}.png", ("train", "val"))
    (tmp_path / "images/train/000.jpg").write_bytes(b"")
    (tmp_path / "masks/train/001.png").write_bytes((tmp_path / "masks/train/001.png").read_bytes()[:60])
    pairs = look(tmp_path).pairs
    assert pairs is not None
    assert pairs.images.pixels.failed == "the file is empty"
    assert "cannot be read" in pairs.labels.problem
    assert set(pairs.labels.shares()) == {0, 1, 2}


def test_a_budget_of_files_ends_the_walk_and_is_said(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}.jpg").write_bytes(b"x")
    walked = walk(tmp_path, most=10)
    assert len(walked.files) == 10
    found = look_at_folder(tmp_path, walked)
    assert not found.complete
    assert any("the first 10 files" in note for note in found.notes)


def test_a_link_to_any_folder_above_is_walked_once(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/x.jpg").touch()
    (tmp_path / "a/b/c/back").symlink_to(tmp_path / "a")
    walked = walk(tmp_path)
    assert (walked.files, walked.loops, walked.unlisted) == (["a/b/c/x.jpg"], 1, [])


def test_a_budget_of_time_ends_the_walk(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}").mkdir()
        (tmp_path / f"{number:02d}/a.jpg").write_bytes(b"x")
    assert walk(tmp_path, seconds=0.0).cut


def written_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            (path.parent / "member").write_bytes(content)
            archive.add(path.parent / "member", name)
    (path.parent / "member").unlink()
    return path


@pytest.fixture
def jpeg(tmp_path: Path) -> bytes:
    photo(tmp_path / "one.jpg")
    return (tmp_path / "one.jpg").read_bytes()


def test_tars_of_samples_with_classes(tmp_path, jpeg):
    root = tmp_path / "shards"
    for split in ("train", "val"):
        members = {
            f"{n:03d}.{kind}": jpeg if kind == "jpg" else str(n).encode() for n in range(4) for kind in ("jpg", "cls")
        }
        written_tar(root / f"{split}-0.tar", members)
    before = sorted(root.iterdir())
    found = look(root)
    assert sorted(root.iterdir()) == before  # no index is left
    assert {split.side: count for split, count in found.photos[0].counts.items()} == {"train": 4, "validation": 4}
    first, second = advise(found).ways
    assert (first.model, first.keys["num_classes"]) == ("classifier_vitt", 4)
    assert second.model == "mae_vitt"


def test_a_tar_whose_samples_hold_two_pictures(tmp_path, jpeg):
    path = written_tar(tmp_path / "t/a.tar", {f"{n}.{kind}": jpeg for n in range(3) for kind in ("jpg", "png")})
    [way] = advise(look(path)).ways
    assert way.keys["image_suffix"] == "jpg"


def test_a_packed_folder_is_to_be_unpacked(tmp_path, jpeg):
    path = written_tar(tmp_path / "t/a.tar", {f"set/images/train/{n}.jpg": jpeg for n in range(3)})
    advice = advise(look(path))
    assert not advice.ways
    assert any("tar -xf" in sentence for sentence in advice.said)


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100])
def test_a_tar_without_pictures_is_one_sentence(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(UserError, match="unpack"):
        look(tmp_path / "a.tar")


LISTS: dict[str, tuple[Callable[[int], str], str]] = {
    "pairs": (lambda n: f"images/train/{n:03d}.jpg masks/train/{n:03d}.png", "a photo and its class map each"),
    "paths": (lambda n: f"/images/train/{n:03d}.jpg", "a picture each"),
    "stems": (lambda n: f"{n:03d}", "without its ending"),
    "classes": (lambda n: f"images/train/{n:03d}.jpg,{n}", "a picture and a class each"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_are_known_by_their_lines(tmp_path, kind):
    labelled(tmp_path, "images/{split}/{n}.jpg", "masks/{split}/{n}.png", ("train",))
    line, expected = LISTS[kind]
    (tmp_path / "train.txt").write_text("\n".join(map(line, range(3))) + "\n")
    assert expected in look(tmp_path).lists["train.txt"]
    assert expected in look(tmp_path / "train.txt").lists["train.txt"]


def test_something_else_is_one_sentence(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"x")
    with pytest.raises(UserError, match="no folder, no tar"):
        look(tmp_path / "a.pdf")
    assert look(tmp_path).kind == "nothing"


def test_maps_that_pair_with_nothing_are_said(tmp_path):
    for number in range(3):
        photo(tmp_path / f"images/photo{number}.jpg", number)
        label_map(tmp_path / f"masks/mask{number}.png", seed=number)
    advice = advise(look(tmp_path))
    assert any("3 class maps lie there that pair with no photo" in sentence for sentence in advice.said)
    [way] = advice.ways
    assert way.keys["root"] == tmp_path / "images"  # where no class map is trained on


def test_class_folders_named_as_imagenets_may_be_one_of_its_variants(tmp_path):
    for number, name in enumerate(("n01440764", "n01443537")):
        photo(tmp_path / name / f"{number}.jpg", number)
    assert any("data=imagenet_variant" in sentence for sentence in advise(look(tmp_path)).said)
