"""What is to be typed for what was found, whole lists of ways and whole words, of findings made by hand."""

from pathlib import Path
from typing import Any

import pytest
from test_found_by_hand import TEST, TRAIN, VALIDATION, pairs, part

from mae_hydra.data.looking import advice
from mae_hydra.data.looking.advice import Advice, Way, advise, band_words
from mae_hydra.data.looking.class_files import KNOWN, ClassFile, class_file_of
from mae_hydra.data.looking.classification_words import classification_words
from mae_hydra.data.looking.found import Found, Labels, Part, Split
from mae_hydra.data.looking.label_words import label_words

ROOT = Path("r")
NONE = Split("", "")
TRAINING, HELD_OUT = Split("train", "training"), Split("validation", "validation")
LARGE = ((400, 500), (600, 500), (900, 900))


def found(kind: Any = "maps", **told: Any) -> Found:
    return Found(told.pop("root", ROOT), kind, **told)


def ways(advice: Advice, *keys: str) -> list[tuple[Any, ...]]:
    """Model and data of each way, with some of its keys."""
    return [(way.model, way.data, *(way.keys.get(key) for key in keys)) for way in advice.ways]


def labels(*maps: dict[int, int], **told: Any) -> Labels:
    return Labels(len(maps), len(maps), {"train": maps}, **told)


NAMED: dict[str, Any] = {  # a public set of classes 0 to 2 with gaps, and one of colors
    "cityscenes": {
        "root": "datasets/cityscenes", "images": "photos/{split}", "maps": "labels/{split}", "image_suffix": None,
        "map_suffix": None, "lists": None, "splits": {"train": "train", "validation": "val", "test": "test"},
        "num_classes": 3, "ignore_index": 255, "values": {0: 0, 1: 1, 2: 2, 255: "ignore"}, "validation_fraction": 0.1,
    },
    "painted": {"root": "datasets/painted", "num_classes": 3, "ignore_index": 255, "images": "i", "maps": "m",
                "validation_fraction": 0.1, "colours": {"250 3 9": 0, "9 200 3": 1, "0 0 0": 2}},
}  # fmt: skip


def test_of_another_reading_one_way_follows_the_two_best() -> None:
    several = pairs(labels=labels(dict.fromkeys(range(4), 9)))
    assert len(advise(found(pairs=several)).ways) == 3
    other = found("classes", photos=(part("*", counts={NONE: 4}),), classes={NONE: ("cat", "dog")})
    assert ways(advise(found(pairs=several, otherwise=other))) == [
        *[("upernet_vitt", "segmentation")] * 2, ("classifier_vitt", "classification"),
        ("upernet_vitt", "segmentation"),
    ]  # fmt: skip
    assert len(advise(other).ways) == 2


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """An empty folder with the name of a public set."""
    (tmp_path / "cityscenes/images").mkdir(parents=True)
    return tmp_path / "cityscenes"


def test_a_public_name_is_pointed_to_only_where_nothing_reads_the_set(public: Path, tmp_path: Path) -> None:
    place = found(root=public, pairs=pairs(labels=labels({0: 9, 1: 9, 7: 9})))
    assert "its name is that of the public set cityscenes" in advise(place, NAMED).said[-1]
    counts = {TRAINING: 4, HELD_OUT: 2}
    for known in (pairs(labels=labels({0: 9, 1: 9, 2: 9})), pairs(counts=counts, labels=labels({0: 9, 1: 9, 7: 9}))):
        assert not any("its name is that" in said for said in advise(found(root=public, pairs=known), NAMED).said)
    other = found(root=tmp_path, pairs=pairs(labels=labels({0: 9, 7: 9})))
    assert not any("its name is that" in said for said in advise(other, NAMED).said)


def test_bands_of_the_photos_are_words_of_every_way_and_of_the_photos_alone() -> None:
    bands: dict[str, Any] = {"bands": (13,), "bits": (16,), "endings": (".tif",)}
    words = {"channels": 13, "shown_bands": [4, 3, 2], "mean": [0.5] * 13, "std": [0.25] * 13}
    told = advise(found(pairs=pairs(images=part("images/{split}", **bands))))
    assert told.alone is not None
    for way in (*told.ways, told.alone):
        assert way.measured
        assert {key: way.keys.get(key) for key in words} == words
    plain = advise(found(pairs=pairs(maps=part("annotations/{split}", **bands))))
    assert [way.measured for way in plain.ways] == [False] * len(plain.ways)
    assert "channels" not in plain.ways[0].keys
    alone = advise(found("photos", photos=(part("p", **bands), part("q"))))
    assert [way.keys.get("channels") for way in alone.ways] == [13]
    assert band_words(part(bands=(4, 5), bits=(16,))) == {}  # of several numbers
    assert band_words(part(bands=(3, 5), bits=(16,))) == {}


@pytest.mark.parametrize(
    ("bands", "bits", "ending", "told"),
    [(4, 8, ".tif", True), (4, 8, ".tiff", True), (3, 8, ".tif", False), (4, 8, ".png", False), (4, 16, ".tif", False)],
)
def test_a_fourth_band_that_is_not_read_is_told(bands: int, bits: int, ending: str, told: bool) -> None:
    told_bands: dict[str, Any] = {"bands": (bands,), "bits": (bits,), "endings": (ending,)}
    images = part("images/{split}", **told_bands)
    for those in (found(pairs=pairs(images=images)), found("photos", photos=(part("p", **told_bands),))):
        said = [each for each in advise(those).said if "bands of a photo" in each]
        assert said == ["of the 4 bands of a photo the first three are read; all of them with data.channels=4"] * told
    assert not advise(found(pairs=pairs(maps=images))).said


def test_photos_alone_are_told_by_the_words_of_the_best_way() -> None:
    keys: dict[str, Any] = {"root": ROOT, "images": "a/{split}", "maps": "b", "image_suffix": "_x", "values": {0: 1},
                            "splits": {"train": "t"}, "lists": {"train": "l"}, "image_size": 256}  # fmt: skip
    best = Way("upernet_vitt", "segmentation", keys, known=True)
    of_large = pairs(images=part(sizes=LARGE))
    alone = advice._photos_alone(found(pairs=of_large), of_large, best)
    assert alone == Way("mae_vitt", "segmentation", {
        "root": ROOT, "images": "a/{split}", "image_suffix": "_x", "splits": {"train": "t"}, "lists": {"train": "l"},
        "maps": None, "image_size": 224,
    }, known=True)  # fmt: skip
    assert advice._photos_alone(found(pairs=of_large), of_large, Way("mae_vitt", "folder", {})) is None


def test_a_layout_of_ade20k_holds_maps_of_8_bits_and_its_readings_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {TRAINING: 4, HELD_OUT: 2}
    told = advise(found(pairs=pairs(counts=counts, labels=labels({0: 5, 1: 5, 255: 9}))))
    assert ways(told, "root", "num_classes", "image_size") == [("upernet_vitt", "ade20k", ROOT, 2, 192)]
    monkeypatch.setattr(advice, "presets_for", lambda *_: [("public", {"root": ROOT})])
    assert ways(advise(found(pairs=pairs(counts=counts)))) == [
        *[("upernet_vitt", "ade20k")] * 3, ("upernet_vitt", "public"),
    ]  # fmt: skip
    monkeypatch.undo()
    wide = advise(found(pairs=pairs(counts=counts, labels=labels(dict.fromkeys(range(300), 9)))))
    assert ways(wide, "num_classes")[:2] == [("upernet_vitt", "segmentation", count) for count in (300, 299)]
    none = advise(found(pairs=pairs(counts=counts, labels=labels({0: 9}))))
    assert (ways(none, "root"), none.said) == (
        [("mae_vitt", "folder", ROOT / "images")], ("the class maps hold 0, of which no classes can be told",),
    )  # fmt: skip
    for changes in ({"maps": part("annotations/{split}", "_m")}, {"images": part("x/images/{split}")},
                    {"images": part("images/{split}", "_i")}, {"images_alone": {TRAINING: 1}}):  # fmt: skip
        assert advice._as_ade20k(found(), pairs(**{"counts": counts} | changes)) is None
    inner = pairs(images=part("x/images/{split}"), maps=part("x/annotations/{split}"), counts=counts)
    assert advice._as_ade20k(found(), inner) == ROOT / "x"


def test_the_first_of_two_splits_of_one_side_is_used() -> None:
    more = Split("train", "train_extra")
    assert advice._sides({TRAIN: 1, more: 2, VALIDATION: 3}) == {"train": TRAIN, "validation": VALIDATION}
    assert advice._sides({VALIDATION: 1}) == {"validation": VALIDATION}


def test_classes_of_a_public_set_that_are_sure_come_first_and_others_last(public: Path, tmp_path: Path) -> None:
    place = found(root=public, pairs=pairs(labels=labels({0: 9, 1: 9, 2: 9})))
    told = advise(place, NAMED)
    assert ways(told, "maps", "num_classes") == [
        ("upernet_vitt", "cityscenes", "annotations/{split}", None),
        *(("upernet_vitt", "segmentation", "annotations/{split}", count) for count in (3, 2, 2)),
    ]
    assert [way.known for way in told.ways] == [True, False, False, False]
    assert told.ways[0].keys == {
        "root": public, "images": "images/{split}", "maps": "annotations/{split}", "image_size": 192,
        "splits": {"train": "train", "validation": "val", "test": None},
    }  # fmt: skip
    colors = Labels(1, 1, colours=(((250, 3, 9), 0.5), ((9, 200, 3), 0.4), ((0, 0, 0), 0.1)))
    assert ways(advise(found(root=tmp_path, pairs=pairs(labels=colors)), NAMED))[0] == ("upernet_vitt", "painted")
    pure = {"pure": NAMED["painted"] | {"colours": {"255 0 0": 0, "0 255 0": 1, "0 0 0": 2}}}
    colors = Labels(1, 1, colours=(((255, 0, 0), 0.5), ((0, 255, 0), 0.4), ((0, 0, 0), 0.1)))
    assert ways(advise(found(root=tmp_path, pairs=pairs(labels=colors)), pure)) == [
        ("upernet_vitt", "segmentation"), ("upernet_vitt", "pure"),
    ]  # fmt: skip


def of_classes(folder: str, classes: dict[Split, tuple[str, ...]], **told: Any) -> Advice:
    counts = dict.fromkeys(classes, 4)
    return advise(found("classes", photos=(part(folder, counts=counts, **told),), classes=classes))


def test_class_folders_are_imagenets_or_of_any_names() -> None:
    names = ("cat", "dog")
    sides = {TRAIN: names, VALIDATION: names}
    assert ways(of_classes("x/{split}/*", sides, sizes=LARGE), "root", "num_classes", "image_size") == [
        ("classifier_vitt", "imagenet", ROOT / "x", 2, 224)
    ]
    deeper = of_classes("x/{split}/*/images", sides)
    assert ways(deeper, "root", "images", "num_classes") == [
        ("classifier_vitt", "classification", ROOT, "x/{split}", 2), ("mae_vitt", "folder", ROOT / "x", None, None),
    ]  # fmt: skip
    one = of_classes("*", {NONE: ("all",)})
    assert ways(one) == [("mae_vitt", "folder")]
    two = of_classes("*", {NONE: names})
    assert ways(two, "num_classes") == [("classifier_vitt", "classification", 2), ("mae_vitt", "folder", None)]
    assert two.ways[1].means == "the photos alone"


@pytest.mark.parametrize(
    ("names", "first", "variant"),
    [
        (("n01440764", "n01443537"), "folder", True), (("n01440764", "cat"), "classification", False),
        (("n0144076", "n0144353"), "folder", False), (("1", "2"), "classification", False),
        (("day 1", "day 2"), "folder", False), (("day 1", "night 1"), "classification", False),
        (("2026-11", "2026-12"), "folder", False),
    ],
)  # fmt: skip
def test_folders_that_differ_by_a_number_are_a_series_but_numbers_alone_are_classes(
    names: tuple[str, ...], first: str, variant: bool
) -> None:
    told = of_classes("*", {NONE: names})
    assert told.ways[0].data == first
    assert any(f"data=imagenet_variant data.root={ROOT} data.classes=" in said for said in told.said) is variant


def test_photos_of_several_folders_with_a_list_of_classes_lie_in_the_one_above() -> None:
    assert advice._above([part("a/b/x"), part("a/b/y"), part("a/b")]) == "a/b"
    assert advice._above([part("a/x"), part("a/*/z")]) == "a"
    assert advice._above([part("a"), part("b")]) == ""
    parts = part("all/x", counts={NONE: 4}), part("all/y", counts={NONE: 4})
    told = advise(found("photos", photos=parts, class_lists={"train.csv": (0, 2)}))
    assert ways(told, "images", "lists", "columns", "num_classes")[0] == (
        "classifier_vitt", "classification", "all", {"train": "train.csv"}, [0, 2], 0,
    )  # fmt: skip


def test_photos_beside_class_folders_are_told() -> None:
    parts = part("{split}/*"), part("more", counts={NONE: 3})
    said = "a part lies in class folders and a part not; data=imagenet reads train/<class>/ and val/<class>/"
    assert said in advise(found("photos", photos=parts)).said
    for others in (parts[:1], (part("x"), part("more"))):
        assert said not in advise(found("photos", photos=others)).said


def of_shards(**told: Any) -> Advice:
    return advise(found("shards", photos=(part("", **told.pop("pixels", {"sizes": LARGE})),), **told))


def test_shards_are_told_with_what_their_samples_hold() -> None:
    assert ways(of_shards(), "root", "image_suffix", "image_size") == [("mae_vitt", "shards", ROOT, None, 224)]
    maps = {"map_ending": "seg.png", "map_labels": labels({0: 9, 1: 9}), "image_suffix": "jpg"}
    told = of_shards(**maps)
    assert ways(told, "image_suffix", "map_ending", "num_classes", "image_size") == [
        ("upernet_vitt", "shards", "jpg", "seg.png", 2, 256), ("mae_vitt", "shards", "jpg", None, None, 224),
    ]  # fmt: skip
    assert (told.said, told.ways[0].words) == ((), ("inference=slide",))
    assert of_shards(**maps | {"map_labels": labels({3: 9})}).said == (
        "the class maps hold 3, of which no classes can be told",
    )
    assert ways(of_shards(num_classes=3, names=("a", "b")), "num_classes") == [
        ("classifier_vitt", "shards", 3), ("mae_vitt", "shards", None),
    ]  # fmt: skip
    assert ways(of_shards(names=("a", "b"))) == [("mae_vitt", "shards")]  # which are classes of something else
    assert ways(of_shards(num_classes=2, names=("a", "b"), complete=False), "num_classes")[0][2] == 2
    packed = of_shards(notes=("folders are packed: unpack it", "another"))
    assert (packed.ways, packed.said) == ((), ("folders are packed: unpack it",))
    assert of_shards(pixels={"readable": False}).ways == ()


def test_tables_are_told_with_their_columns_maps_first_then_classes() -> None:
    told = advise(found("tables", photos=(part("", sizes=LARGE),), num_classes=4, map_ending="mask",
                        map_labels=labels({0: 9, 1: 9})))  # fmt: skip
    assert ways(told, "path", "mask", "num_classes", "image_size") == [
        ("upernet_vitt", "huggingface", ROOT, "mask", 2, 256), ("classifier_vitt", "huggingface", ROOT, None, 4, 224),
        ("mae_vitt", "huggingface", ROOT, "mask", None, 224),
    ]  # fmt: skip
    assert ways(advise(found("tables", photos=(part(""),))), "mask") == [("mae_vitt", "huggingface", None)]
    assert advise(found("tables")).ways == ()


def photos_of(*parts: Part, **told: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(way.data, dict(way.keys)) for way in advice._photos(found("photos", photos=parts, **told))]


def test_photos_alone_are_read_from_a_folder_without_maps_or_by_what_tells_them_from_maps() -> None:
    both = {TRAIN: 4, VALIDATION: 2, TEST: 1}
    photos = part("{split}/images", counts=both)
    assert photos_of(photos) == [("folder", {"root": ROOT, "image_size": 192})]
    assert photos_of(photos, maps=(part("{split}/masks", counts=both),)) == [
        ("folder", {"root": ROOT / "train/images", "image_size": 192})
    ]
    within = part("{split}/images/masks", counts=both)
    assert photos_of(photos, maps=(within,)) == [
        ("segmentation", {"root": ROOT, "images": "{split}/images", "maps": None, "image_suffix": ".png",
                          "image_size": 192})]  # fmt: skip
    assert photos_of(part("x", endings=(".jpg", ".tif"), counts={NONE: 4}), maps=(part("x/m", counts={NONE: 1}),)) == [
        ("segmentation", {"root": ROOT, "images": "x", "maps": None, "image_size": 192})
    ]
    beside = part("x", counts={NONE: 4})
    assert photos_of(part("x", counts={NONE: 4}), maps=(beside,)) == []  # both are PNGs
    assert photos_of(part("x", "_rgb", counts={NONE: 4}), maps=(beside,))[0][1]["image_suffix"] == "_rgb"
    named = part("{split}", counts={Split("train", "tr"): 4, Split("validation", "va"): 2}, endings=(".jpg",))
    assert photos_of(named, maps=(part("{split}", counts={Split("train", "tr"): 1}),))[0][1]["splits"] == {
        "train": "tr", "validation": "va", "test": None,
    }  # fmt: skip
    for damaged in ({"failed": "cut"}, {"readable": False}):
        assert photos_of(part("x", **damaged)) == []
    assert advise(found("photos", photos=(part("x", failed="cut"),))).said == ("a picture cannot be read: cut",)


# --- classes


def test_a_file_of_classes_is_the_outermost_that_can_be_read_in_whatever_letters(tmp_path: Path) -> None:
    for name in ("a", "a/b"):
        (tmp_path / name).mkdir()
    for name in KNOWN:
        own = name.startswith("_") or name.endswith(".csv")
        (tmp_path / name.upper()).write_text("name,r,g,b\nsea,0,0,255\nland,0,255,0\n" if own else "sea\nland\n")
        assert class_file_of(tmp_path, [name.upper()]).classes == ("sea", "land"), name
    (tmp_path / "a/b/classes.txt").write_text("sea\nland\n")
    (tmp_path / "a/classes.txt").write_text("sea\nland\n")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    files = ["a/b/classes.txt", "a/classes.txt", "classes.txt", "other.txt"]
    assert class_file_of(tmp_path, files) == ClassFile("a/classes.txt", ("sea", "land"))
    assert class_file_of(tmp_path, ["CLASS_DICT.CSV"]).colours == ((0, 0, 255), (0, 255, 0))
    assert class_file_of(tmp_path, ["a/classes.txt", "CLASS_DICT.CSV"]) == ClassFile()  # which tells colors as well


def words(base: str = "", root: Path = ROOT, **told: Any) -> tuple[dict[str, Any], bool]:
    """The words, and whether it is said that no split is for validation."""
    keys, said = classification_words(found("classes", root=root, **told), base)
    return keys, bool(said)


def test_lists_tell_the_classes_of_splits_that_have_no_class_folders(tmp_path: Path) -> None:
    photos = part("{split}/*", counts={TRAIN: 4}), part("{split}/images", counts={VALIDATION: 2, TEST: 1})
    lists = {"val/notes.txt": (0, 1), "train.csv": (0, 1), "test.csv": (0, 1)}
    assert words("{split}", photos=photos, classes={TRAIN: ("a", "b")}, class_lists=lists) == (
        {"images": "{split}", "lists": {"validation": "val/notes.txt", "test": "test.csv"}, "num_classes": 2}, False,
    )  # fmt: skip
    only = {"val/notes.txt": (0, 1)}
    assert words("{split}", photos=photos, classes={TRAIN: ("a", "b")}, class_lists=only)[0]["splits"] == {
        "train": "train", "validation": "val", "test": None,
    }  # fmt: skip
    (tmp_path / "labels.csv").write_text("x,a.png\ny,b.png\nz,c.png\nx,d.png\n")
    alone = part("p", counts={NONE: 4})
    assert words("p", tmp_path, photos=(alone,), class_lists={"labels.csv": (1, 0)}) == (
        {"images": "p", "lists": {"train": "labels.csv"}, "columns": [1, 0], "num_classes": 3}, True,
    )  # fmt: skip
    both = {"train.csv": (1, 0), "val.csv": (1, 0)}
    (tmp_path / "train.csv").write_text("x,a.png\ny,b.png\n")
    assert words("", tmp_path, photos=(alone,), class_lists=both) == (
        {"images": ".", "lists": {"train": "train.csv", "validation": "val.csv"}, "columns": [1, 0], "num_classes": 2},
        False,
    )  # fmt: skip
    names = {"train.txt": "9 lines, a picture each", "val.txt": "2 lines, a picture each"}
    assert words("", photos=(alone,), classes={NONE: ("a", "b", "c")}, lists=names) == (
        {"images": ".", "lists": {"train": "train.txt", "validation": "val.txt"}, "num_classes": 3}, False,
    )  # fmt: skip
    assert "lists" not in words("{split}", photos=photos[:1], classes={TRAIN: ("a",)}, lists=names)[0]
    assert words("", tmp_path, photos=(alone,), class_lists={"gone.csv": (0, 1)})[0]["num_classes"] == 0
    assert words("", photos=(alone,), classes={TEST: ("a", "b")})[0]["num_classes"] == 2


# --- what maps mean


def color_words(named: ClassFile, *colors: tuple[int, int, int], **told: Any) -> list[dict[str, Any]]:
    shares = tuple((color, 1 / len(colors)) for color in colors)
    return [keys for keys, _ in label_words(Labels(1, 1, colours=shares, **told), found(class_file=named))]


def test_colors_are_as_they_are_named_where_the_file_names_all_of_them_once() -> None:
    one, two, other = (1, 0, 0), (0, 2, 0), (0, 0, 3)
    file = ClassFile("c.csv", ("x", "y", "z"), (one, two, other))
    assert color_words(file, two, one) == [
        {"num_classes": 3, "classes": "c.csv", "colours": {"1 0 0": 0, "0 2 0": 1, "0 0 3": 2}}
    ]
    own = [{"num_classes": 2, "colours": {"0 2 0": 0, "9 9 9": 1}}]
    assert color_words(file, two, (9, 9, 9)) == own
    twice = ClassFile("c.csv", ("x", "y", "z"), (one, two, two))
    assert color_words(twice, two, one) == [{"num_classes": 2, "colours": {"0 2 0": 0, "1 0 0": 1}}]
    many = [(n, 0, 0) for n in range(33)]
    assert [len(color_words(ClassFile(), *many[:count])) for count in (32, 33)] == [1, 0]


def test_palettes_that_differ_may_be_colors_or_numbers() -> None:
    clash = Labels(2, 2, {"train": ({0: 9, 1: 9}, {0: 9, 1: 9})}, (((1, 1, 1), 1.0),), clash=True)
    assert [keys for keys, _ in label_words(clash, found())] == [
        {"num_classes": 1, "colours": {"1 1 1": 0}}, {"num_classes": 2},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "resized"),
    [
        ({0: 70, 50: 1, 90: 1, 140: 1, 200: 1, 250: 26}, True), ({0: 70, 50: 1, 90: 1, 140: 1, 250: 27}, False),
        ({0: 70, 50: 5, 90: 5, 140: 5, 200: 5, 250: 10}, True), ({0: 69, 50: 6, 90: 5, 140: 5, 200: 5, 250: 10}, False),
        ({50: 2, 90: 2, 140: 2, 200: 2, 250: 92}, False), ({0: 70, 50: 1, 90: 1, 140: 1, 200: 1, 255: 26}, False),
        ({32: 70, 33: 1, 90: 1, 140: 1, 222: 1, 224: 26}, True),
    ],
)  # fmt: skip
def test_a_resized_mask_is_dark_bright_and_little_of_many_values_between(shares: dict[int, int], resized: bool) -> None:
    told = label_words(labels(shares), found())
    assert (bool(told) and told[0][0] == {"num_classes": 2, "values": {"0-127": 0, "128-255": 1}}) is resized


@pytest.mark.parametrize(
    ("levels", "two"),
    [
        ({(0, 0, 0): 0.5, (32, 32, 32): 0.1, (223, 223, 223): 0.4}, True),
        ({(0, 0, 0): 0.5, (33, 33, 33): 0.1, (222, 222, 222): 0.4}, False),
        ({(0, 0, 0): 0.45, (255, 255, 255): 0.45, (120, 120, 120): 0.1}, True),
        ({(0, 0, 0): 0.44, (255, 255, 255): 0.45, (120, 120, 120): 0.11}, False), ({(0, 0, 0): 1.0}, False),
        ({(255, 255, 255): 1.0}, False), ({(0, 0, 0): 0.5, (255, 0, 0): 0.5}, False),
        ({(0, 0, 0): 0.5, (255, 230, 223): 0.5}, True),
    ],
)  # fmt: skip
def test_a_jpeg_of_two_tones_is_nearly_all_black_or_white_and_some_of_both(levels: Any, two: bool) -> None:
    jpeg = Labels(1, 1, colours=tuple(levels.items()), problem="holds JPEG pixels")
    assert bool(label_words(jpeg, found())) is two


def test_a_reduced_zero_is_a_word_of_any_layout_and_a_file_names_as_many_as_it_has_lines() -> None:
    assert [keys for keys, _ in label_words(labels({1: 9, 2: 9}, {0: 1, 2: 9}), found())] == [
        {"num_classes": 2, "ignore_index": 2}, {"num_classes": 3}, {"num_classes": 2, "reduce_zero_label": True},
    ]  # fmt: skip
    file = ClassFile("classes.txt", ("a", "b", "c"))
    named = [keys for keys, _ in label_words(labels({0: 9, 1: 9, 255: 3}), found(class_file=file))]
    assert named[0] == {"num_classes": 3, "classes": "classes.txt"}
    for top in (2, 3):
        keys = label_words(labels(dict.fromkeys(range(top + 1), 9)), found(class_file=file))[0][0]
        assert ("classes" in keys) is (top == 2)
    listed = label_words(labels({0: 9, 200: 9}), found(class_file=file))
    assert listed[0][0] == {"num_classes": 2, "values": {0: 0, 200: 1}}
