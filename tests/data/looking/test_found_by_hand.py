"""What is said of what was found, and what single pictures, names and lists are, one function at a time."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mae_hydra.data.label_table import IGNORE, Reading
from mae_hydra.data.looking import advice, folders, label_words, lists, pixels, roles, segmentation_words
from mae_hydra.data.looking.advice import Way, advise, band_words
from mae_hydra.data.looking.class_files import ClassFile, class_file_of
from mae_hydra.data.looking.classification_words import classification_words
from mae_hydra.data.looking.found import Found, Labels, Pairs, Part, Pixels, Split
from mae_hydra.data.looking.pairing import match
from mae_hydra.data.looking.places import File, Group, groups_of, split_of
from mae_hydra.data.looking.readings import readings_for, words_of
from mae_hydra.data.looking.tables import look_at_tables
from mae_hydra.data.looking.tars import look_at_tars
from mae_hydra.errors import UserError

TRAIN, VALIDATION, TEST = Split("train", "train"), Split("validation", "val"), Split("test", "test")
SIZES = ((64, 64), (300, 200), (900, 900))


def part(folder: str = "images/{split}", suffix: str = "", **told: Any) -> Part:
    counts: Mapping[Split, int] = told.pop("counts", {TRAIN: 4})
    endings = told.pop("endings", (".png",))
    pictures = {"read": 4, "sizes": SIZES, "modes": (("RGB", 4),), "bits": (8,), "bands": (3,)} | told
    places = {split: folder.replace("{split}", split.name) for split in counts} if "*" not in folder else {}
    return Part(folder, suffix, endings, counts, Pixels(**pictures), places)


def pairs(**told: Any) -> Pairs:
    given: dict[str, Any] = {
        "images": part(), "maps": part("annotations/{split}"), "counts": {TRAIN: 4, VALIDATION: 2},
        "images_alone": {}, "maps_alone": {}, "labels": Labels(1, 1, {"train": ({0: 5, 1: 5, 2: 5},)}),
    }  # fmt: skip
    return Pairs(**given | told)


@pytest.mark.parametrize(
    ("bands", "bits", "ending", "words"),
    [
        (2, 8, ".tif", {"channels": 2}), (4, 8, ".tif", {}), (4, 16, ".tif", {"channels": 4}),
        (12, 16, ".tif", {"channels": 12, "shown_bands": [4, 3, 2]}), (3, 16, ".tif", {}),
        (3, 8, ".npy", {"channels": 3, "bands": [1, 2, 3]}), (1, 8, ".npy", {"channels": 1, "bands": [1]}),
    ],
)  # fmt: skip
def test_bands_are_wanted_as_they_are_stored_where_no_photograph_has_them(bands, bits, ending, words):
    found = band_words(part(bands=(bands,), bits=(bits,), endings=(ending,)))
    assert found == (words | {"mean": [0.5] * bands, "std": [0.25] * bands} if words else {})


def test_a_crop_has_room_in_the_usual_picture_and_a_side_that_patches_divide():
    sides = [((64, 64), (300, 200), (900, 900)), ((8, 8), (700, 500), (900, 900)), ((8, 8), (20, 99), (99, 99)), ()]
    assert [advice._crop(part(sizes=each), 256) for each in sides] == [192, 256, 32, 256]


def test_the_crop_follows_from_the_photos_and_not_from_maps_of_another_size():
    maps = part("annotations/{split}", sizes=((64, 64), (64, 64), (64, 64)))
    ways = advise(Found(Path("x"), "maps", pairs=pairs(maps=maps))).ways
    assert {way.keys["image_size"] for way in ways} == {192}  # the usual photo has a short side of 200


def test_a_convention_is_told_by_the_words_that_differ_from_the_usual_one():
    found = [words_of(Reading(3, *each)) for each in ((255, True), (255, False), (3, False), (0, True))]
    assert found == [
        {"num_classes": 3}, {"num_classes": 3, "reduce_zero_label": False},
        {"num_classes": 3, "reduce_zero_label": False, "ignore_index": 3}, {"num_classes": 3, "ignore_index": 0},
    ]  # fmt: skip
    assert words_of(Reading(2, 255, None, {0: 0, 7: 1})) == {"num_classes": 2, "values": {0: 0, 7: 1}}


def test_classes_are_the_folders_of_each_split_as_they_are_spelled():
    names = [f"train/{name}/{n}.jpg" for name in ("Cat", "dog", "cow") for n in range(2)]
    groups = groups_of([*names, *(f"val/{name}/{n}.jpg" for name in ("Cat", "dog") for n in range(2))])
    assert folders._classes(groups) == {TRAIN: ("Cat", "cow", "dog"), VALIDATION: ("Cat", "dog")}
    deeper = groups_of(f"{name}/train/{n}.jpg" for name in ("Cat", "dog") for n in range(2))
    assert folders._classes(deeper) == {TRAIN: ("Cat", "dog")}


def test_the_test_split_validates_only_where_there_is_no_other():
    assert advice._sides({TRAIN: 1, TEST: 2, VALIDATION: 3}) == {"train": TRAIN, "validation": VALIDATION}
    assert advice._sides({TRAIN: 1, TEST: 2}) == {"train": TRAIN, "validation": TEST}


def test_the_classes_of_shards_are_as_many_as_are_named_and_no_more_is_said_than_was_seen():
    def ways(**told: Any) -> tuple[list[Any], tuple[str, ...]]:
        found = advise(Found(Path("x"), "shards", photos=(part(""),), **told))
        return [way.keys.get("num_classes") for way in found.ways], found.said

    assert ways(names=("a", "b", "c"), num_classes=2, complete=False) == ([3, None], ())
    assert ways(num_classes=4) == ([4, None], ())
    only, said = ways(num_classes=4, complete=False)
    assert (only, "class ids up to 3 were seen" in said[0]) == ([None], True)


def test_numbered_folders_below_a_split_are_classes_and_others_a_series():
    names = ("class 1", "class 2")
    for split, folder, first in ((TRAIN, "{split}/*", "classification"), (Split("", ""), "*", "folder")):
        photos = (part(folder, counts={split: 4}),)
        assert advise(Found(Path("x"), "classes", photos=photos, classes={split: names})).ways[0].data == first


def test_what_is_laid_out_as_ade20k_is_so_only_where_nothing_is_alone():
    counts = {Split("train", "training"): 4, Split("validation", "validation"): 2}
    found = Found(Path("x"), "maps")
    assert advice._as_ade20k(found, pairs(counts=counts)) == Path("x")
    assert advice._as_ade20k(found, pairs(counts=counts, maps_alone={TRAIN: 1})) is None
    assert advice._as_ade20k(found, pairs(counts={TRAIN: 4, VALIDATION: 2})) is None  # by other names
    alone = advice._photos_alone(Found(Path("x"), "maps", pairs=pairs()), pairs(), Way("upernet_vitt", "ade20k", {}))
    assert (alone.data, alone.keys) == ("folder", {"root": Path("x/images"), "image_size": 192})


def test_what_a_preset_says_of_another_place_is_taken_back():
    place = {"images": "img/{split}", "maps": "gt/{split}"}
    preset = {
        "images": "img/{split}",
        "maps": "m",
        "image_suffix": None,
        "map_suffix": "_x",
        "lists": None,
        "splits": 1,
    }
    usual = {"train": "train", "validation": "val", "test": "test"}
    assert advice._over(place, preset) == {"maps": "gt/{split}", "map_suffix": None, "splits": usual}
    assert advice._over({"images": "a", "maps": "b"}, {}) == {"images": "a", "maps": "b"}


def test_classes_are_those_of_training_and_columns_are_told_where_they_are_unusual(tmp_path):
    classes = {TRAIN: ("a", "b"), TEST: ("a", "b", "c")}
    photos = (part("{split}/*", counts={TRAIN: 4, TEST: 3}),)
    keys, said = classification_words(Found(tmp_path, "classes", photos=photos, classes=classes), "{split}")
    assert keys == {
        "images": "{split}",
        "splits": {"train": "train", "validation": None, "test": "test"},
        "num_classes": 2,
    }
    assert "no split is for validation" in said[0]
    for columns, told in (((0, 1), None), ((1, 0), [1, 0]), (("file", "kind"), ["file", "kind"])):
        (tmp_path / "train.csv").write_text("file,kind\na.png,x\nb.png,y\nc.png,x\n")
        found = Found(tmp_path, "photos", photos=(part(""),), class_lists={"train.csv": columns})
        assert classification_words(found, "")[0].get("columns") == told


def test_what_class_maps_mean_is_told_value_by_value():
    words = label_words.label_words
    found = Found(Path("x"), "maps")
    colours = Labels(1, 1, colours=(((255, 0, 0), 0.6), ((0, 9, 0), 0.3), ((0, 0, 0), 0.1)))
    assert words(colours, found)[0][0]["colours"] == {"0 0 0": 0, "0 9 0": 1, "255 0 0": 2}
    tones = (((2, 2, 2), 0.5), ((250, 250, 250), 0.5))
    jpeg = words(Labels(1, 1, colours=tones, problem="holds JPEG pixels"), found)
    assert [each["values"] for each, _ in jpeg] == [{"0-127": 0, "128-255": 1}]
    wide = readings_for(Labels(1, 1, {"train": ({0: 5, 1000: 5, 65535: 9},)}), found)
    assert [each.values for each in wide] == [{0: 0, 1000: 1, 65535: IGNORE}]
    dense = readings_for(Labels(1, 1, {"train": (dict.fromkeys(range(1, 301), 9),)}), found)
    assert dense[0] == Reading(301, 301, False)
    maps = (dict.fromkeys(range(5), 9),) * 4  # everywhere is everything: 4 may be a class like any other
    assert readings_for(Labels(4, 4, {"train": maps}), found)[0].ignore_index != 4
    some = tuple({0: 5, number: 5, 4: 5} for number in (1, 2, 3, 1))
    assert readings_for(Labels(4, 4, {"train": some}), found)[0] == Reading(4, 4, False)
    few = readings_for(Labels(1, 1, {"train": ({0: 5, 1: 5, 2: 9},)}), Found(Path("ADE_of_ours"), "maps"))
    assert 150 not in {each.num_classes for each in few}
    assert list(segmentation_words._codes({"colours": {"0 0 0": 0}})) == [
        {},
        {"colours": None, "reduce_zero_label": True},
    ]


def test_a_file_of_names_tells_the_classes_of_maps_that_hold_no_more_than_it_names(tmp_path):
    for top, classes in ((2, 3), (3, None)):
        labels = Labels(1, 1, {"train": (dict.fromkeys(range(top + 1), 9),)})
        named = ClassFile("classes.txt", ("sea", "land", "sky"))
        words = label_words.label_words(labels, Found(Path("x"), "maps", class_file=named))[0][0]
        assert (words.get("classes"), words["num_classes"]) == (classes and "classes.txt", classes or top + 1)
    (tmp_path / "inner").mkdir()
    for name, text in (("inner/classes.txt", "sea\nland\n"), ("label_names.txt", "sea\nland\n")):
        (tmp_path / name).write_text(text)
    both = ["inner/classes.txt", "label_names.txt"]  # which say the same
    assert class_file_of(tmp_path, both) == ClassFile("label_names.txt", ("sea", "land"))
    (tmp_path / "label_names.txt").write_text("land\nsea\n")
    assert class_file_of(tmp_path, both) == ClassFile()


def test_splits_and_lists_are_told_by_what_they_are_called():
    splits_of, lists_of = segmentation_words.splits_of, segmentation_words.lists_of
    assert splits_of({"test": "t"}) == {"train": "t", "validation": None, "test": None}
    assert splits_of({"train": "a", "validation": "b"}) == {"train": "a", "validation": "b", "test": None}
    told = {
        "Main/train.txt": "9 lines, a picture each",
        "Segmentation/long/train.txt": "9 lines, a picture each",
        "Segmentation/long/val.txt": "9 lines, a photo and its class map each",
        "train.txt": "lines of text",
    }
    found = Found(Path("x"), "maps", lists=told)
    assert lists_of(found) == {"train": "Segmentation/long/train.txt", "validation": "Segmentation/long/val.txt"}
    said = list(segmentation_words.said_of(found, pairs(images_alone={TRAIN: 2}), {}))
    assert said == ["2 photos have no class map and 0 class maps no photo: they are left out"]
    [only] = segmentation_words.said_of(found, pairs(counts={TRAIN: 4}), {})
    assert only.startswith("of the splits training and validation there is train alone")


def files(*stems: str, folder: str = "") -> tuple[File, ...]:
    return tuple(File(f"{folder}/{stem}.png".lstrip("/"), None, (), stem) for stem in stems)


def test_of_two_sets_of_photos_that_with_more_pairs_is_taken():
    maps = Group(("masks",), "", (".png",), files("a", "b", "c", folder="masks"))
    some, all_ = (
        Group((name,), "", (".jpg",), files(*stems, folder=name)) for name, stems in (("x", "ab"), ("y", "abc"))
    )
    [best] = roles._matches([some, all_], [maps], set())
    assert (best.images.folder, best.total) == (("y",), 3)


def test_folders_that_say_nothing_are_photos_and_maps_by_what_is_in_them_and_of_the_same_sizes():
    groups = [Group((name,), "", (".png",), files("a", folder=name)) for name in ("X", "y")]
    photo, few = dict.fromkeys(range(200), 9), {0: 9, 1: 9}

    def are_apart(*looks: tuple[dict[int, int], tuple[int, int]]) -> bool:
        told = [[pixels.Look(values=values, size=size)] for values, size in looks]
        return roles.are_plainly_apart(groups, dict(zip(map(id, groups), told, strict=False)))

    assert are_apart((photo, (8, 9)), (few, (8, 9)))
    assert are_apart((few, (8, 9)), (photo, (8, 9)))
    for looks in (((photo, (8, 9)), (few, (9, 8))), ((photo, (8, 9)),) * 2, ((few, (8, 9)),) * 2, ((photo, (8, 9)),)):
        assert not are_apart(*looks)


def test_maps_of_one_value_come_behind_others_whatever_they_are_called():
    photos = Group(("photos",), "", (".jpg",), files("a", "b", "c", folder="photos"))
    of_one_value, others = (
        Group((name,), "", (".png",), files("a", "b", "c", folder=name)) for name in ("trainids", "x")
    )
    found = [
        [pair.maps.folder[0] for pair in roles._matches([photos], [of_one_value, others], set(plain))]
        for plain in (of_one_value.files, others.files[:2], ())
    ]
    assert found == [["x", "trainids"], ["trainids", "x"], ["trainids", "x"]]
    some = Group(("trainids",), "", (".png",), files("a", folder="trainids"))  # of less than half of the photos
    assert [pair.maps.folder[0] for pair in roles._matches([photos], [some, others], set())] == ["x", "trainids"]


@pytest.mark.parametrize(
    ("colors", "flat", "like"),
    [(40, 0.0, True), (41, 0.79, False), (41, 0.8, True), (1024, 1.0, True), (1025, 1.0, False)],
)
def test_few_colors_are_a_map_and_more_where_neighbors_are_equal(colors, flat, like):
    many = {(n % 256, n // 256, 0): 1 for n in range(colors)}
    assert pixels.Look(colours=many, flat=flat).is_map_like() is like
    assert pixels.Look(values=dict.fromkeys(range(colors), 1), flat=flat).is_map_like() is like
    assert not pixels.Look(flat=flat).is_map_like()


def test_a_split_keeps_the_word_that_names_it():
    words = ("imgs_val", "Testing", "trainannot", "dev", "trail")
    assert [split_of(word) for word in words] == [
        ("imgs_{split}", Split("validation", "val")), ("{split}", Split("test", "Testing")),
        ("{split}annot", Split("train", "train")), ("{split}", Split("validation", "dev")), None,
    ]  # fmt: skip


def test_half_of_the_maps_may_be_without_a_photo_and_a_suffix_is_found_by_its_neighbors():
    numbers = [f"p{n:02d}" for n in range(10)]
    maps = Group(("masks",), "", (".png",), files(*numbers))
    assert match(Group(("i",), "", (".jpg",), files(*numbers[:6])), maps).total == 6
    assert match(Group(("i",), "", (".jpg",), files(*numbers[:4])), maps) is None
    named = Group(("i",), "", (".jpg",), files("a new-photo", *(f"{name} new-photo" for name in numbers)))
    other = Group(("masks",), "", (".png",), files(*(f"{name} labelled" for name in numbers)))
    found = match(named, other)
    assert (found.image_suffix, found.map_suffix, found.total) == (" new-photo", " labelled", 10)


@pytest.mark.parametrize("alone", ["photos", "maps"])
def test_a_split_that_one_of_the_two_has_alone_parts_no_pair(alone: str) -> None:
    """As maps in train/ and val/ of photos in one folder; where both have splits, they tell equal names apart."""
    sides = {"train": Split("train", "train"), "val": Split("validation", "val")}
    apart = tuple(
        File(f"{name}/{n}.png", sides[name], (), n) for name, n in (("train", "1"), ("train", "2"), ("val", "3"))
    )
    together = files("1", "2", "3")
    photos, maps = (apart, together) if alone == "photos" else (together, apart)
    found = match(Group(("i",), "", (".jpg",), photos), Group(("m",), "", (".png",), maps))
    assert found is not None
    assert found.both == {sides["train"]: 2, sides["val"]: 1}
    other = tuple(File(f"{name}/1.png", split, (), "1") for name, split in sides.items())
    both = match(Group(("i",), "", (".jpg",), other), Group(("m",), "", (".png",), other[:1]))
    assert both is not None
    assert (both.both, both.images_alone) == ({sides["train"]: 1}, {sides["val"]: 1})


def test_what_is_alone_is_counted_on_its_own_side_and_what_maps_hold_by_the_pixel():
    photos = Group(("i",), "", (".jpg",), files(*"abcdef"))
    assert (found := match(photos, Group(("m",), "", (".png",), files(*"cdefxyzu")))) is not None
    none = Split("", "")
    assert (found.both, found.images_alone, found.maps_alone) == ({none: 4}, {none: 2}, {none: 4})
    maps = {"train": ({0: 6, 7: 2}, {7: 4}), "validation": ({255: 4},)}
    assert Labels(3, 3, maps).shares() == {0: 0.375, 7: 0.375, 255: 0.25}
    assert Labels(0, 3).shares() == {}


@pytest.mark.parametrize(
    ("images", "maps", "root"),
    [("images", "masks", "images"), ("set/images", "set/masks", "set/images"), ("", "masks", None), ("x", "x/m", None)],
)
def test_photos_alone_are_a_folder_in_which_no_maps_lie(images, maps, root):
    of_maps = part(maps, counts={Split("", ""): 4})
    found = Found(Path("r"), "photos", photos=(part(images, counts={Split("", ""): 4}),), maps=(of_maps,))
    ways = list(advice._photos(found))
    assert [(way.data, way.keys["root"]) for way in ways][:1] == [
        ("segmentation", Path("r")) if root is None else ("folder", Path("r") / root)
    ]


def test_the_inner_folder_says_what_files_are_and_a_rare_ending_is_a_part_of_the_name():
    assert [Group(each, "", (), ()).hint() for each in (("images", "masks"), ("masks", "images"), ("a",))] == [
        "map", "image", None,
    ]  # fmt: skip
    names = [f"shots/p{n}.jpg" for n in range(30)] + ["shots/p1_big.jpg", "shots/p2_big.jpg"]
    assert [(group.suffix, len(group.files)) for group in groups_of(names)] == [("", 32)]
    names += [f"shots/p{n}_big.jpg" for n in range(3, 9)]
    assert [(group.suffix, len(group.files)) for group in groups_of(names)] == [("", 30), ("_big", 8)]


def test_a_picture_is_told_with_its_bits_its_regions_and_its_commonest_colours(tmp_path):
    for name, mode, bits in (("a", "1", 1), ("b", "L", 8), ("c", "I;16", 16)):
        Image.new(mode, (12, 10)).save(tmp_path / f"{name}.png")
        found = pixels.look_at(tmp_path / f"{name}.png", name, pixels.Budget())
        assert (found.bits, found.size, found.bands) == (bits, (10, 12), 1)
    np.save(tmp_path / "d.npy", np.zeros((9, 11, 4), np.uint16))
    found = pixels.look_at(tmp_path / "d.npy", "d", pixels.Budget())
    assert (found.bits, found.bands, found.size) == (16, 4, (9, 11))
    for bands in (1, 2):
        np.save(tmp_path / "d.npy", np.zeros((9, 11, bands), np.float64))
        problem = pixels.look_at(tmp_path / "d.npy", "d", pixels.Budget()).map_problem
        assert problem.partition(";")[0] == ("" if bands == 1 else "has 2 bands")
    assert pixels._flat(np.array([[1, 1, 1, 2]] * 3)) == pytest.approx(2 / 3)
    noise = np.arange(60 * 60, dtype=np.uint32).view(np.uint8).reshape(60, 60, 4)[..., :3].copy()
    noise[:, :30] = 7, 8, 9
    Image.fromarray(noise).save(tmp_path / "e.png")
    colours = pixels.look_at(tmp_path / "e.png", "e", pixels.Budget()).colours
    assert (next(iter(colours.items())), len(colours)) == (((7, 8, 9), 1800), pixels.MOST_COLOURS + 1)
    looks = [pixels.Look(size=size, mode="L") for size in ((30, 2), (5, 5), (9, 9))]
    assert pixels.summary(looks).sizes == ((5, 5), (30, 2), (9, 9))


def test_a_budget_ends_by_its_time_or_by_its_pixels():
    spent = [pixels.Budget(seconds, left).spent() for seconds, left in ((60.0, 1), (60.0, 0), (-1.0, 1))]
    assert spent == [False, True, True]


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["a.jpg,x", "b.jpg,y", "c.jpg,x", "d.jpg,y"], (0, 1)),
        (["a.jpg,x", "b.jpg,y", "gone.jpg,x", "d.jpg,y"], (0, 1)),  # most of them are there
        (
            ["x,a.jpg,7,1", "x,b.jpg,8,1", "y,c.jpg,9,2", "y,d.jpg,6,2"],
            (1, 3),
        ),  # what repeats, first behind the picture
        (["id,label,file", "1,x,a.jpg", "2,y,b.jpg", "3,z,c.jpg"], ("file", "label")),
        (["a,a.jpg", "a,b.jpg", "b,c.jpg", "b,d.jpg"], (1, 0)),  # classes that are called as two of the pictures
        (["a.jpg,x", "gone.jpg,y", "lost.jpg,x", "left.jpg,y"], None),
    ],
)
def test_a_list_of_classes_is_known_by_its_columns(tmp_path, lines, columns):
    (tmp_path / "told.csv").write_text("\n".join(lines))
    found = lists.class_lists_of(tmp_path, ["told.csv"], [f"p/{name}.jpg" for name in "abcd"])
    assert found == ({} if columns is None else {"told.csv": columns})


def test_a_stem_may_lack_what_follows_a_word_and_an_empty_list_is_none(tmp_path):
    assert [lists._is_stem(cell, sorted(["a.b", "ab", "c_1"])) for cell in ("a", "ab", "c", "b", "")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    (tmp_path / "none.txt").write_text("# a remark\n")
    with pytest.raises(UserError, match="holds no lines of text"):
        lists.look_at_list(tmp_path / "none.txt")


def test_class_maps_are_read_from_all_over_a_set_and_names_from_its_one_file(tmp_path, monkeypatch):
    seen: list[str] = []
    shares = iter([{(9, 9, 9): 1}, {(0, 0, 0): 5, (9, 9, 9): 2}])
    problems = iter(["first", "second"])
    monkeypatch.setattr(
        folders,
        "look_at",
        lambda path, name, *_, **__: (seen.append(name), pixels.Look(colours=next(shares), map_problem=next(problems)))[
            1
        ],
    )
    found, _ = folders._labels(tmp_path, Group((), "", (".png",), files(*"abcdefgh")), pixels.Budget(), 2)
    assert (seen, found.read, found.of, found.problem) == (["a.png", "e.png"], 2, 8, "first")
    assert found.colours == (((0, 0, 0), 5 / 8), ((9, 9, 9), 3 / 8))
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "classes.json").write_text(json.dumps({"names": [folder]}))
    assert folders._names(tmp_path, ["x/classes.json"]) == ("x",)
    assert folders._names(tmp_path, ["x/classes.json", "y/classes.json"]) == ()


def test_the_largest_groups_are_looked_into_and_a_table_of_numbers_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MOST_GROUPS", 1)
    for name in ("few0.bmp", "many0.png", "many1.png", "many2.png"):
        Image.new("RGB", (40, 40), (50, 9, 200)).save(tmp_path / name)
    looked: list[tuple[str, ...]] = []
    first = folders.first_looks
    monkeypatch.setattr(
        folders, "first_looks", lambda root, group, budget: looked.append(group.endings) or first(root, group, budget)
    )
    folders.look_at_folder(tmp_path, folders.Walked(files=["few0.bmp", *(f"many{n}.png" for n in range(3))]))
    assert looked == [(".png",)]
    np.save(tmp_path / "boxes.npy", np.zeros((100, 4)))
    np.save(tmp_path / "picture.npy", np.zeros((9, 8)))
    assert folders.pictures_in(tmp_path, ["picture.npy"]) == ["picture.npy"]
    assert folders.pictures_in(tmp_path, ["boxes.npy", "few0.bmp"]) == ["few0.bmp"]


def test_samples_of_a_tar_are_counted_once_and_class_ids_need_not_all_be_seen(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(picture, format="PNG")
    with tarfile.open(tmp_path / "train-0.tar", "w") as archive:
        for name, content in (
            ("0.png", picture),
            ("0.cls", b"5"),
            ("1.jpg", picture),
            ("1.png", picture),
            ("1.cls", b"1"),
            ("b/1.png", picture),  # another sample
            ("b/1.cls", b"2"),
        ):
            data = content if isinstance(content, bytes) else content.getvalue()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    found = look_at_tars(tmp_path, [tmp_path / "train-0.tar"])
    assert (found.num_classes, list(found.photos[0].counts.values())) == (6, [3])


def test_tables_are_counted_by_the_row_and_all_of_their_first_maps_are_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")

    def encoded(values: Any) -> dict[str, bytes]:
        Image.fromarray(np.asarray(values, np.uint8)).save(file := io.BytesIO(), format="PNG")
        return {"bytes": file.getvalue()}

    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3))
    maps = [np.full((40, 40), number) for number in (0, 1, 2)]
    for split, rows in (("train", 3), ("validation", 2)):
        columns = {"image": list(map(encoded, noise[:rows])), "mask": list(map(encoded, maps[:rows]))}
        pa.parquet.write_table(pa.table(columns), tmp_path / f"{split}-0.parquet", row_group_size=3)
    found = look_at_tables(tmp_path)
    assert {split.side: count for split, count in found.photos[0].counts.items()} == {"train": 3, "validation": 2}
    assert found.map_ending == "mask"
    assert found.map_labels is not None
    assert (found.map_labels.read, found.map_labels.of) == (3, 3)
    assert found.map_labels.shares() == {0: 1 / 3, 1: 1 / 3, 2: 1 / 3}


@pytest.mark.parametrize(
    ("folder", "deepest"),
    [("", 0), ("{split}", 0), ("a/{split}/images", 1), ("a/b/img_{split}", 2), ("a/*/images", 1), ("a/b", 2)],
)
def test_a_known_set_may_lie_in_any_folder_above_its_splits(folder: str, deepest: int) -> None:
    found: Any = SimpleNamespace(root=Path("set"))
    pairs: Any = SimpleNamespace(images=SimpleNamespace(folder=folder))
    above = [Path("set"), Path("set/a"), Path("set/a/b")]
    assert list(segmentation_words._roots(found, pairs)) == above[: deepest + 1]


@pytest.mark.parametrize(
    ("place", "folder", "below"),
    [
        ("maps", "maps", True), ("maps/train", "maps", True), ("maps/train", "maps/", True), ("mapsx", "maps", False),
        ("maps", "maps/train", False), ("maps/{split}", "maps", True), ("{split}/maps", "train", False),
        ("x", "", True),
    ],
)  # fmt: skip
def test_a_part_lies_in_a_folder_of_its_whole_name(place: str, folder: str, below: bool) -> None:
    assert advice._lies_in(Part(place, "", (".png",), {}), folder) is below
