"""By which conventions numbers may be classes, and by what a public set is known: tables of cases on both sides."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_found_by_hand import TEST, TRAIN, VALIDATION, pairs, part

from mae_hydra.data.label_table import IGNORE, Reading
from mae_hydra.data.looking import segmentation_words as seg
from mae_hydra.data.looking.found import Found, Labels, Split
from mae_hydra.data.looking.readings import meaning, readings_for, why_none
from mae_hydra.data.looking.tables import look_at_tables

NONE = Split("", "")


def labels(*maps: Any, of: int | None = None, validation: Any = (), **told: Any) -> Labels:
    """Maps that hold these numbers, ten pixels each."""
    sides = {"train": maps} | ({"validation": validation} if validation else {})
    held = {side: tuple(dict.fromkeys(values, 10) for values in those) for side, those in sides.items()}
    count = len(maps) + len(validation)
    return Labels(count, of or count, held, **told)


def found(root: str = "x", **told: Any) -> Found:
    return Found(Path(root), "maps", **told)


def read(held: Labels, **told: Any) -> list[tuple[int, int, bool | None]]:
    return [(r.num_classes, r.ignore_index, r.reduce_zero_label) for r in readings_for(held, found(**told))]


def test_numbers_of_8_bits_are_read_by_every_convention_that_no_map_contradicts() -> None:
    assert read(labels(range(4), range(3))) == [(4, 255, False), (3, 255, True), (3, 3, False)]
    assert read(labels([0, 1, 255], [0, 255])) == [(2, 255, False)]
    assert read(labels([0, 1], problem="holds RGB pixels")) == []
    both = labels([0, 1, 2], [0, 1, 2], validation=[[0, 1, 2], [0, 2]])
    assert read(both) == [(2, 2, False), (3, 255, False), (2, 255, True)]
    often = [[0, number, 3] for number in (1, 2, 1, 2)]
    assert read(labels(*often))[0] == (3, 3, False)  # 3 is in every map, as no class is
    assert read(labels(*([0, 1, 2, 3] for _ in range(4))))[0] == (4, 255, False)  # as everything is
    assert read(labels(*often, [0, 1, 2]))[-1] == (3, 3, False)


def test_a_part_of_the_maps_refutes_no_reading_by_chance() -> None:
    assert readings_for(labels([3], [3]), found()) == []
    one = labels([1, 2], validation=[[1]])
    assert read(one) == read(labels([1, 2], validation=[[1]], of=9)) == [(2, 255, True)]
    assert read(labels([0, 255], [0, 255])) == [(2, 255, None)]
    assert read(labels([0, 1], [0, 1]), names=("a",)) == []  # one class and what is ignored
    assert read(labels([0, 1], [0, 1], of=9), names=("a",)) == [(1, 255, True), (1, 1, False)]
    ignored = labels([1, 2], [1, 2], validation=[[0], [0]])
    assert (2, 255, True) not in read(ignored)  # by which nothing were measured


def test_the_number_of_names_decides_where_all_that_is_stored_fits_it() -> None:
    names = {"names": ("a", "b", "c", "d", "e")}
    assert read(labels([0, 1, 2], [1, 4]), **names) == [(5, 255, False), (5, 255, True), (5, 5, False)]
    assert read(labels([0, 1, 5], [1, 4]), **names) == [(5, 255, True), (5, 5, False)]
    assert read(labels([0, 1, 6]), **names) == []
    assert read(labels([0, 100], [0, 100]), names=("a", "b")) == [(2, 255, None)]
    assert read(labels([0, 100], [0, 100]), names=("a", "b", "c")) == []
    ade = read(labels(range(40), range(39)), root="ADEChallenge")
    assert ade[0] == (150, 255, True)
    assert (150, 255, False) in ade
    assert 150 not in {count for count, *_ in read(labels(range(33), range(30)), root="ADEChallenge")}
    assert 150 not in {count for count, *_ in read(labels(range(40), range(39)))}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (range(300), [(300, 300, False), (299, 299, True)]), (range(1, 301), [(301, 301, False)]),
        (range(0, 1500, 5), [(1496, 1496, False), (1495, 1495, True)]), (range(0, 1600, 8), []),
        ([0, 256], [(2, 255, None)]), ([*range(0, 15_001, 1000)], [(16, 255, None)]),
        ([*range(0, 16_001, 1000)], []), ([-1, 0, 300], []), ([0, 255], [(2, 255, None)]),
    ],
)  # fmt: skip
def test_numbers_above_255_are_dense_or_few(values: Any, told: list[Any]) -> None:
    assert read(labels(values, values)) == told


def test_65535_counts_for_nothing_beside_few_or_many_others() -> None:
    [few] = readings_for(labels([0, 700, 65535]), found())
    assert (few.values, few.num_classes) == ({0: 0, 700: 1, 65535: IGNORE}, 2)
    assert read(labels([*range(300), 65535])) == [(300, 300, False), (299, 299, True)]
    assert readings_for(labels([65534, 65535]), found())[0].values == {65534: 0, 65535: IGNORE}
    assert readings_for(labels([70_000, 1]), found()) == []


def test_a_reading_is_told_in_words() -> None:
    told = [Reading(3, 255, True), Reading(3, 255, False), Reading(3, 3, False), Reading(300, 300, False),
            Reading(2, 255, None, {0: 0, 9: 1})]  # fmt: skip
    assert [meaning(each) for each in told] == [
        "3 classes, 0 is no class and ignored", "3 classes, 0 is a class", "3 classes, 0 is a class, 3 is ignored",
        "300 classes, 0 is a class", "2 classes, each value as listed",
    ]  # fmt: skip


def test_why_nothing_can_be_told_of_maps_is_said() -> None:
    def colors(count: int) -> Labels:
        return Labels(1, 1, colours=tuple(((n % 256, n // 256, 0), 0.1) for n in range(count)))

    said = [why_none(each) for each in (
        labels([0], problem="holds JPEG pixels"), colors(33), colors(1024), colors(1025), labels([0, 900, 3]),
        labels([0], problem="cannot be read: cut"), labels([3]), labels(),
    )]  # fmt: skip
    assert [each.partition(", of which")[0].partition(", too")[0] for each in said] == [
        "a class map holds JPEG pixels; of two tones alone it could be told which is which",
        "the class maps hold 33 colors", "the class maps hold 1024 colors", "the class maps hold 1025 or more colors",
        "the class maps hold 3 numbers up to 900", "a class map cannot be read: cut", "the class maps hold 3",
        "the class maps hold nothing that could be read",
    ]  # fmt: skip


# --- where files lie


def test_a_place_is_told_by_folders_and_by_endings_where_photos_and_maps_lie_together() -> None:
    def words(images: Any, maps: Any, **told: Any) -> dict[str, Any]:
        both = pairs(images=images, maps=maps, counts=told.pop("counts", {TRAIN: 1, VALIDATION: 1, TEST: 1}))
        return seg.place_words(found(**told), both)

    jpg, png = (".jpg",), (".png",)
    assert words(part("a", endings=jpg), part("b", endings=png)) == {"images": "a", "maps": "b"}
    assert words(part("", endings=jpg), part("", endings=png)) == {
        "images": ".", "maps": ".", "image_suffix": ".jpg", "map_suffix": ".png",
    }  # fmt: skip
    assert words(part("", endings=png), part("", "_m", endings=png)) == {"images": ".", "maps": ".", "map_suffix": "_m"}
    assert words(part("a", endings=(".jpg", ".png")), part("a", endings=png)) == {"images": "a", "maps": "a"}
    lists = {"train.txt": "9 lines, a picture each", "val.txt": "9 lines, a picture each"}
    told = {"train": "train.txt", "validation": "val.txt"}
    assert words(part("a"), part("b"), lists=lists, counts={NONE: 9}) == {"images": "a", "maps": "b", "lists": told}
    assert "lists" not in words(part("a"), part("b"), lists=lists)
    assert words(part("a"), part("b"), counts={TRAIN: 1})["splits"] == {
        "train": "train", "validation": None, "test": None,
    }  # fmt: skip


def test_a_split_is_for_training_that_is_called_so_and_no_name_is_for_two() -> None:
    assert seg.splits_of({"validation": "v", "train": "t"}) == {"train": "t", "validation": "v", "test": None}
    assert seg.splits_of({"validation": "v", "test": "w"}) == {"train": "v", "validation": None, "test": "w"}


def test_lists_are_of_the_splits_that_they_are_called() -> None:
    def lists(*names: str, words: str = "9 lines, a picture each") -> dict[str, str]:
        return seg.lists_of(found(lists=dict.fromkeys(names, words)))

    three = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
    assert lists("val.txt", "train.txt", "test.txt") == three
    assert lists("val.txt") == lists("trainval.txt", "val.txt") == {}
    assert lists("trainval.txt") == {"train": "trainval.txt"}
    assert lists("trainval.txt", "train.txt") == {"train": "train.txt"}
    assert lists("a/Segmentation/train.txt", "train.txt", "b/c/train.txt") == {"train": "a/Segmentation/train.txt"}
    assert lists("long_train.txt", "train.txt", "a/train.txt") == {"train": "train.txt"}
    assert lists("train.txt", words="9 lines, a photo and its class map each") == {"train": "train.txt"}
    assert lists("train.txt", words="lines of text") == {}


def test_what_is_missing_of_the_splits_is_said() -> None:
    def said(*splits: Split, keys: Any = None, **told: Any) -> list[str]:
        return list(seg.said_of(found(), pairs(counts=dict.fromkeys(splits, 1), **told), keys or {}))

    assert [each.partition(":")[0].rpartition("there is ")[2] for each in (
        *said(TRAIN, TEST), *said(VALIDATION), *said(TEST), *said(NONE),
    )] == ["train alone", "validation alone", "none", "none"]  # fmt: skip
    lists = {"lists": {"train": "t", "validation": "v"}}
    assert said(TRAIN, VALIDATION) == said(NONE, keys=lists) == []
    alone: dict[str, Any] = {"maps_alone": {TRAIN: 2, VALIDATION: 1}}
    left_out = ["0 photos have no class map and 3 class maps no photo: they are left out"]
    assert said(TRAIN, VALIDATION, **alone) == left_out
    assert said(NONE, keys=lists, **alone) == []
    [clash] = said(TRAIN, VALIDATION, labels=Labels(2, 2, clash=True))
    assert clash.startswith("warning: the class maps are palette PNGs that give one number different colours")


# --- public sets


def node(**told: Any) -> dict[str, Any]:
    return {"root": "datasets/set", "num_classes": 3, "ignore_index": 255, "validation_fraction": 0.1} | told


GAPS = node(num_classes=3, values={0: 0, 20: 1, 40: 2})


@pytest.mark.parametrize(
    ("preset", "held", "fits"),
    [
        (node(values={0: 0, 7: 1, 9: 2}), labels([0, 7], [9]), True),
        (node(values={0: 0, 7: 1, 9: 2}), labels([0, 8]), False),
        (node(), labels([0, 1, 2, 255]), True), (node(), labels([0, 3]), False), (node(), labels(), False),
        (node(), labels([0, 256]), False), (node(reduce_zero_label=True), labels([0, 3]), True),
        (node(ignore_values=[7]), labels([0, 7]), True), (node(values={0: 9}), labels([0]), False),
        (node(values={0: 0, 1000: 1, "2000-2999": 2}), labels([1000, 2500], [0]), True),
        (node(values={0: 0, 1000: 1, "2000-2999": 2}), labels([1000, 3000]), False),
        (node(values={0: 0, 1000: 1, "2000-2999": 2}), labels(), False),
        (node(num_classes=2, values={"0-127": 0, "128-255": 1}), labels(), True),
    ],
)  # fmt: skip
def test_maps_fit_a_preset_where_all_that_they_hold_means_something(preset: Any, held: Labels, fits: bool) -> None:
    assert seg._fits(held, preset) is fits


@pytest.mark.parametrize(
    ("colors", "fits"),
    [
        ([(255, 0, 0)], True),
        ([(255, 0, 0), (10, 20, 30)], True),
        ([(5, 20, 40)], True),
        ([(4, 20, 40)], False),
        ([(5, 20, 41)], False),
        ([(255, 0, 0), (9, 9, 9)], False),
        ([], False),
    ],
)
def test_colors_fit_a_preset_within_its_boxes(colors: list[tuple[int, int, int]], fits: bool) -> None:
    preset = node(num_classes=2, colours={"255 0 0": 0, "5-15 20 30-40": 1})
    assert seg._fits(Labels(1, 1, colours=tuple((each, 0.1) for each in colors)), preset) is fits


def like(held: Labels, root: str = "x", **presets: Any) -> Any:
    return seg.classes_like(held, presets, found(root=root))


def test_classes_are_those_of_a_set_by_its_name_its_gaps_or_its_colors() -> None:
    other = node(values={0: 0, 1: 1, 90: 2})
    alpha = node(values={5: 0, 6: 1, 7: 2})
    assert like(labels([0, 1]), "/d/alpha_set", alpha=alpha, alpha_set=other) == ("alpha_set", {}, True)
    assert like(labels([0, 1]), "/d/beta", alpha_set=other) is None
    colored = node(colours={"1 2 3": 0, "4 5 6": 1, "7 8 9": 2})
    assert like(labels([0, 1, 3]), "/d/painted", painted=colored) == (
        "painted", {"colours": None, "reduce_zero_label": True}, True,
    )  # fmt: skip
    many = node(num_classes=60, values={n: n // 2 for n in range(0, 120, 2)})
    even = labels(*([n, n + 2, n + 4] for n in range(0, 116, 2)))
    assert like(even, gappy=many) == ("gappy", {}, True)
    assert like(labels([0, 2]), gappy=many) is None  # two numbers may miss all gaps by chance


@pytest.mark.parametrize(
    ("colors", "keys", "told"),
    [
        (["9 200 3", "250 3 9", "100 50 9"], [], ("p", {}, True)), (["9 200 3", "250 3 9"], [], None),
        (["0 255 0", "255 0 16", "16 0 255"], [], ("p", {}, False)),
        (["0 255 0", "255 0 17", "0 0 255"], [], ("p", {}, True)),
        (["9 200 3", "250 3 9", "100 50 9"], ["90-110 50 9"], None),
        (["0 255 0", "255 0 0", "0 0 255"], ["1-9 0 0"], ("p", {}, False)),
    ],
)  # fmt: skip
def test_three_colors_tell_a_set_and_pure_ones_may_be_anybodys(colors: list[str], keys: list[str], told: Any) -> None:
    exact = {key: number for number, key in enumerate([*colors, *keys])}
    held = Labels(1, 1, colours=tuple((tuple(map(int, each.split())), 0.1) for each in colors))  # type: ignore[misc]
    assert like(held, p=node(num_classes=len(exact), colours=exact)) == told


def test_gaps_tell_a_set_where_numbers_drawn_at_random_would_fall_into_one() -> None:
    twenty = {n: n for n in range(25) if n % 5}
    preset = node(num_classes=25, values=twenty)
    assert seg._has_its_gaps(labels(twenty), preset)
    assert not seg._has_its_gaps(labels([n for n in twenty if n < 20]), preset)  # 16 of 20 miss four gaps by chance
    assert not seg._has_its_gaps(labels([1, 2]), preset)
    assert not seg._has_its_gaps(labels(range(1, 5)), node(num_classes=4, values={n: n for n in range(4)}))
    assert not seg._has_its_gaps(labels(twenty), node(num_classes=25))  # which lists no values
    beyond = labels([*twenty, 200])
    assert seg._has_its_gaps(beyond, preset | {"ignore_values": [200]})
    ten = node(num_classes=10, values={n: n for n in range(10)}, ignore_values=[200])
    assert not seg._has_its_gaps(labels([*range(10), 200]), ten)
    assert seg._has_its_gaps(labels([*twenty, 255]), preset | {"values": twenty | {255: "ignore"}})
    assert not seg._has_its_gaps(labels([0, 200]), node(num_classes=2, values={"0-127": 0, "128-255": 1}))
    assert not seg._has_its_gaps(labels(range(0, 300, 2)), node(values={0: 0, 1000: 1, "2000-2999": 2}))


@pytest.mark.parametrize(
    ("path", "called"),
    [
        ("/d/CamVid", True), ("/d/camvid-11", True), ("/d/my_CamVid", True), ("/CamVid/set", True),
        ("/CamVid/a/set", False), ("/d/xcamvidx", False), ("/d/cam", False), ("/d/Cam_Vid", True),
        ("/d/thelongpublishedx", True), ("/d/published", True),
        ("/d/long", False),
    ],
)  # fmt: skip
def test_a_folder_has_a_sets_name_or_that_of_its_published_folder(path: str, called: bool) -> None:
    assert seg._is_called(Path(path), "camvid", node(root="datasets/long_published")) is called


@pytest.mark.parametrize(
    ("keys", "own"),
    [
        ({"map_suffix": "_gtFine_lab"}, True), ({"map_suffix": "_gtFine_la"}, False),
        ({"image_suffix": "_leftImg8bit"}, True),
        ({"maps": "a/SegmentationClassX"}, True), ({"maps": "a/SegmentationClass"}, False),
        ({"maps": "{split}SegmentationClassX"}, False), ({}, False),
    ],
)  # fmt: skip
def test_long_suffixes_and_folders_are_a_sets_own(keys: dict[str, str], own: bool) -> None:
    assert seg._has_own_names(keys) is own


def test_a_part_of_a_public_set_and_maps_that_are_converted_are_read_with_other_words(tmp_path: Path) -> None:
    preset = node(images="i/{split}", maps="m/{split}", image_suffix=None, map_suffix="_labelIds.png", lists=None,
                  splits={"train": "train", "validation": "val", "test": None}, values={7: 0, 8: 1, 9: 2})  # fmt: skip
    for name in ("i/train/a.jpg", "i/train/b.jpg", "m/train/a_labelTrainIds.png", "m/train/b_labelTrainIds.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    both = pairs(images=part("i/{split}"), maps=part("m/{split}", "_labelTrainIds"), counts={TRAIN: 2})
    converted = {"map_suffix": "_labelTrainIds.png", "values": None}
    only = {"splits": {"train": "train", "validation": None, "test": None}}
    assert seg._read_by(tmp_path, preset, both) == converted | only
    (tmp_path / "i/val").mkdir()
    (tmp_path / "m/val").mkdir()
    for name in ("i/val/c.jpg", "m/val/c_labelTrainIds.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    whole = pairs(images=both.images, maps=both.maps, counts={TRAIN: 2, VALIDATION: 1})
    assert seg._read_by(tmp_path, preset, whole) == converted
    named = {"xyz": preset}
    held = pairs(images=both.images, maps=both.maps, counts=whole.counts, labels=labels([0, 1, 2, 255]))
    assert list(seg.presets_for(found(root=str(tmp_path)), held, named)) == [("xyz", {"root": tmp_path, **converted})]
    short = {"xyz": preset | {"map_suffix": "_l.png", "root": "datasets/other"}}
    assert list(seg.presets_for(found(root=str(tmp_path)), held, short)) == []  # neither called nor named so
    wrong = pairs(images=both.images, maps=both.maps, counts=whole.counts, labels=labels([0, 9]))
    assert list(seg.presets_for(found(root=str(tmp_path)), wrong, named)) == []


# --- tables


def test_tables_are_looked_at_by_their_columns_training_first(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")

    def png(values: Any, kind: str = "PNG") -> bytes:
        Image.fromarray(np.asarray(values, np.uint8)).save(file := io.BytesIO(), kind)
        return file.getvalue()

    noise = [png(np.random.default_rng(n).integers(0, 256, (24, 24, 3))) for n in range(12)]
    maps = [png(np.full((24, 24), n % 3)) for n in range(12)]
    for split, rows in (("train", 12), ("dev", 5)):
        columns = {"image": noise[:rows], "label": [n % 4 for n in range(rows)]}
        pa.parquet.write_table(pa.table(columns), tmp_path / f"{split}.parquet", row_group_size=4)
    told = look_at_tables(tmp_path)
    assert (told.names, told.num_classes, told.map_ending, told.map_labels) == (tuple("0123"), 4, "", None)
    assert told.photos[0].counts == {Split("train", "train"): 12, Split("validation", "validation"): 5}
    assert (told.notes, told.photos[0].suffix) == (("columns: image, label",), " (image)")
    columns = {"image": noise, "mask": maps, "label": [0] * 12}
    pa.parquet.write_table(pa.table(columns), tmp_path / "train.parquet")
    told = look_at_tables(tmp_path)
    assert (told.names, told.num_classes, told.map_ending, told.photos[0].pixels.read) == ((), 1, "mask", 8)
    assert told.map_labels is not None
    assert (told.map_labels.read, told.map_labels.of) == (12, 12)
    jpegs = {"image": noise, "mask": [png(np.full((24, 24), n % 2 * 255), "JPEG") for n in range(12)]}
    pa.parquet.write_table(pa.table(jpegs), tmp_path / "train.parquet")
    assert look_at_tables(tmp_path).map_ending == "mask"  # JPEGs are decoded as well where they may be maps
    pa.parquet.write_table(pa.table({"a": noise, "b": noise}), tmp_path / "train.parquet")
    told = look_at_tables(tmp_path)
    assert (told.photos, "several columns hold pictures (a, b)" in told.notes[0]) == ((), True)
