"""Which files are of one purpose, which are class maps, how they pair, and what is in a picture."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from pictures import smooth_picture
from PIL import Image
from test_folders_by_hand import FEW, MANY, NONE, photo
from test_found_by_hand import TRAIN

from mae_hydra.data.looking import pairing, pixels, places, roles
from mae_hydra.data.looking.found import Split
from mae_hydra.data.looking.pairing import match
from mae_hydra.data.looking.pixels import Budget, Look, look_at, summary
from mae_hydra.data.looking.places import File, Group, groups_of


def group(folder: str, *stems: str, suffix: str = "", ending: str = ".png", split: Split | None = None,
          wild: tuple[str, ...] = ()) -> Group:  # fmt: skip
    place = tuple(folder.split("/")) if folder else ()
    return Group(place, suffix, (ending,), tuple(File(f"{folder}/{s}{ending}", split, wild, s) for s in stems))


def placed(groups: Sequence[Group]) -> list[tuple[str, str, int]]:
    return [("/".join(each.folder), each.suffix, len(each.files)) for each in groups]


def test_pairs_are_those_of_most_files_with_the_suffix_that_most_have() -> None:
    half = match(group("i", *"abcd"), group("m", *"cdef"))
    assert half is not None
    assert (half.total, half.images_alone, half.maps_alone) == (2, {NONE: 2}, {NONE: 2})
    assert match(group("i", *"abcde"), group("m", "e", "f", "g")) is None
    suffixes = match(group("i", "a_l", "b_l", "c_l", suffix="_l"), group("m", "a_m", "b_m", "c", suffix="_m"))
    assert suffixes is None  # a map without the suffix
    photos = match(group("i", "a_l", "b_l", "c", suffix="_l"), group("m", "a", "b", "c"))
    assert photos is not None
    assert (photos.image_suffix, photos.total) == ("_l", 2)
    assert match(group("i", "a_l", "b_l", "c", "d", suffix="_l"), group("m", "a", "b")) is None  # half have another
    words = match(group("i", *(f"{n}. photo" for n in "abc")), group("m", *(f"{n}. map of it" for n in "abc")))
    assert words is not None
    assert (words.image_suffix, words.map_suffix, words.total) == (" photo", " map of it", 3)
    later = match(group("i", *(f"{n}. early" for n in "abcd")), group("m", *(f"{n}. late" for n in "abc")))
    assert later is not None
    assert (later.image_suffix, later.map_suffix, later.total) == (" early", " late", 3)


def test_the_two_likeliest_pairs_of_suffixes_are_tried() -> None:
    photos = group("i", *(f"{n} photo" for n in "abcde"), *(f"{n} old" for n in "abc"))
    maps = group("m", *(f"{n} old map" for n in "abcde"))
    voted = [("", " map"), (" photo", " old map")]  # by three names and by two
    assert pairing._voted(photos.files, maps.files) == voted
    found = match(photos, maps)
    assert found is not None
    assert (found.image_suffix, found.map_suffix, found.both) == (" photo", " old map", {NONE: 5})
    more = replace(maps, files=maps.files + group("m", "f.x").files)
    others = replace(photos, files=photos.files + group("i", "f.y").files)
    assert pairing._voted(others.files, more.files) == voted  # and not that of one name


def test_a_split_is_that_of_the_photo_and_equal_names_are_told_apart_by_folder() -> None:
    sides = match(group("i", "a", split=TRAIN), group("m", "a", split=Split("train", "training")))
    assert sides is not None
    assert sides.both == {TRAIN: 1}
    wild = [Group(("*",), "", (".png",), tuple(File(f"{w}/{s}.png", None, (w,), s) for w, s in each)) for each in
            ((("x", "1"), ("y", "1"), ("y", "2")), (("x", "1"), ("y", "1"), ("z", "2")))]  # fmt: skip
    found = match(*wild)
    assert found is not None
    assert (found.total, found.images_alone, found.maps_alone) == (2, {NONE: 1}, {NONE: 1})
    others = replace(wild[1], files=tuple(file._replace(wild=("w",)) for file in wild[1].files[1:]))
    assert match(wild[0], others) is None  # which of two photos is not clear
    called = {"i": ("tr", "te"), "m": ("training", "test")}
    words = [
        tuple(
            File(f"{name}/{word}/a.png", Split(side, word), (), "a")
            for side, word in zip(("train", "test"), those, strict=True)
        )
        for name, those in called.items()
    ]
    sides = match(*(Group((name,), "", (".png",), those) for name, those in zip("im", words, strict=True)))
    assert sides is not None
    assert sides.both == {Split("train", "tr"): 1, Split("test", "te"): 1}


def test_splits_are_known_in_any_letters_and_the_rest_of_the_place_stays() -> None:
    assert [places.split_of(name) for name in ("VAL", "set_Test_2", "Train2017", "validate")] == [
        ("{split}", Split("validation", "VAL")), ("set_{split}_2", Split("test", "Test")),
        ("{split}2017", Split("train", "Train")), None,
    ]  # fmt: skip
    found = groups_of(["a/Val/images/left/1.jpg", "a/train/images/left/2.jpg"])
    assert placed(found) == [("a/{split}/images/left", "", 2)]
    assert {file.split for file in found[0].files} == {Split("validation", "Val"), TRAIN}
    names = "image_masks", "leftImg8bit", "gtFine", "RGB", "targets", "map", "x"
    assert [places.role_of(name) for name in names] == [
        "map", "image", "map", "image", "map", "map", None,
    ]  # fmt: skip


def test_suffixes_are_words_that_a_tenth_of_the_names_share_or_that_say_what_a_file_is() -> None:
    assert places._last_words("tile_07_big_label") == ["_big_label", "_label"]
    assert (places._last_words("label"), places._last_words("_label"), places._last_words("a_1")) == ([], [], [])
    some = [f"d/p{n}{'_east' if n < 2 else ''}.png" for n in range(20)]
    assert placed(groups_of(some)) == [("d", "", 18), ("d", "_east", 2)]
    assert placed(groups_of([*some, "d/p20.png"])) == [("d", "", 21)]
    assert placed(groups_of(["d/a_east.png", "d/b.png"])) == [("d", "", 2)]
    assert placed(groups_of(["d/a_mask.png", "d/b.png", "d/c_mask2.png"])) == [("d", "", 2), ("d", "_mask", 1)]


def test_folders_of_one_kind_are_one_star_but_not_forms_of_the_same_pictures() -> None:
    def merged(*names: str, apart: bool = False) -> list[str]:
        return sorted({"/".join(each.folder) for each in groups_of(names, apart=apart)})

    assert merged("x/1.png", "y/2.png") == ["*"]
    assert merged("x/1.png", "y/1.png", apart=True) == ["x", "y"]
    assert merged("x/1.png", "y/1.png", "z/2.png", apart=True) == ["*"]  # of which one has others
    assert merged("masks/x/1.png", "masks/y/1.png", "photos/1.jpg") == ["masks/x", "masks/y", "photos"]
    assert merged("masks/x/1.png", "masks/y/2.png", "photos/1.jpg") == ["masks/*", "photos"]
    assert merged("train/1.png", "more/2.png") == ["more", "{split}"]
    both = [f"{v}/{kind}/{n}.png" for v in ("v1", "v2") for kind in ("labels", "images") for n in "ab"]
    assert merged(*both) == ["*/images", "*/labels"]
    maps = [name for name in both if "labels" in name]
    assert merged(*maps, "photos/a.jpg", "photos/b.jpg") == ["photos", "v1/labels", "v2/labels"]


def apart(*told: tuple[Group, Look]) -> tuple[list[str], list[str], list[str]]:
    """Folders of the photos, of the maps, and of those that pair."""
    groups = [each for each, _ in told]
    photos, maps, matches = roles.told_apart(groups, {id(each): [seen] for each, seen in told})
    parts = photos, maps, [pair.maps for pair in matches]
    return tuple(["/".join(each.folder) for each in part] for part in parts)  # type: ignore[return-value]


def test_what_looks_like_maps_and_pairs_with_nothing_is_photos_where_it_lies_among_such() -> None:
    few, many = Look(values=FEW), Look(values=MANY)
    assert apart((group("a", "1"), many), (group("b", "1"), few)) == (["a"], ["b"], ["b"])
    assert apart((group("a", "1"), many), (group("b", "2"), few)) == (["a"], ["b"], [])  # in a folder of its own
    assert apart((group("a", "1"), many), (group("a", "2", ending=".bmp"), few)) == (["a"], [], [])
    assert apart((group("a", "1"), many), (group("a", "1_x", suffix="_x"), few)) == (["a"], ["a"], ["a"])
    assert apart((group("b", "2"), few)) == (["b"], [], [])  # digits and drawings
    assert apart((group("masks", "2"), few)) == ([], ["masks"], [])
    colors = (
        Look(colours={(0, 0, 0): 1, (255, 0, 255): 1, (255, 255, 255): 1}),
        Look(colours={(9, 9, 9): 1, (0, 0, 0): 1}),
    )
    assert apart((group("a", "1"), colors[0]), (group("b", "1"), colors[1])) == (["b"], ["a"], ["a"])
    assert apart((group("a", "1"), few), (group("b", "1"), Look(values={0: 1, 1: 1, 2: 1}))) == (["b"], ["a"], ["a"])


@pytest.mark.parametrize(
    ("folder", "ending", "looks", "is_map"),
    [
        ("masks", ".png", [Look(values=FEW), Look(values=MANY)], True),
        ("masks", ".png", [Look(values=FEW), Look(values=MANY), Look(values=MANY)], False),
        ("masks", ".jpg", [Look(values=MANY)], True), ("masks", ".png", [Look(problem="x")], True),
        ("x", ".png", [Look(values=FEW), Look(values=MANY)], False),
        ("x", ".png", [Look(values=FEW), Look(values=FEW), Look(values=MANY)], True),
        ("images", ".png", [Look(values=FEW)], False),
    ],
)  # fmt: skip
def test_a_map_is_told_by_what_is_in_it_and_its_name_decides_what_that_leaves_open(
    folder: str, ending: str, looks: list[Look], is_map: bool
) -> None:
    assert roles._is_map(group(folder, "1", ending=ending), looks) is is_map


def test_files_of_one_place_are_joined_but_for_suffixes_that_say_what_they_are() -> None:
    left = group("a", "2_left", suffix="_left", ending=".jpg")
    groups = [group("a", "1"), left, group("a", "3_mask", suffix="_mask"), group("b", "4")]
    joined = roles._joined(groups)
    assert placed(joined) == [("a", "", 2), ("a", "_mask", 1), ("b", "", 1)]
    assert joined[0].endings == (".jpg", ".png")


def test_the_likeliest_maps_are_those_of_the_best_names_and_depths_and_colors_the_last() -> None:
    names = ["colors", "gt_instances", "depth", "labels", "annotations", "gt", "manual", "trainids", "segs", "x"]
    ranked = sorted(names, key=lambda name: roles._rank(group(name, "1")))
    assert ranked[:7] == ["trainids", "manual", "gt", "labels", "annotations", "segs", "x"]
    assert roles._rank(group("labels", "1", suffix="_color")) < roles._rank(group("colors", "1"))
    photos = [group("pics", *"abc"), group("images", *"abc"), group("more", *"abcd")]
    best = roles._matches(photos, [group("gt", *"abc"), group("labels", *"abc")], set())
    assert [(pair.images.folder[0], pair.maps.folder[0]) for pair in best] == [("images", "gt"), ("images", "labels")]
    more = roles._matches([group("images", *"abcd")], [group("x", *"ab"), group("y", *"abc")], set())
    assert [pair.maps.folder[0] for pair in more] == ["y", "x"]
    twice = group("gt", "a_m", "b_m", suffix="_m")
    pairs = roles._matches([group("images", *"ab")], [twice, group("gt", "a_n", "b_n", suffix="_n")], set())
    assert [pair.map_suffix for pair in pairs] == ["_m", "_n"]
    parts = [group("gt", "a"), group("gt", "b", ending=".bmp")]
    [whole] = roles._matches([group("images", *"ab")], parts, set())  # and not once more each by itself
    assert whole.total == 2


def test_jpegs_that_are_called_maps_are_decoded_and_one_picture_is_read_however_late_it_is(tmp_path: Path) -> None:
    for folder in ("masks", "photos"):
        photo(tmp_path / folder / "1.jpg")
        photo(tmp_path / folder / "2.jpg")
    groups = [group(folder, "1", "2", ending=".jpg") for folder in ("masks", "photos")]
    looks = [roles.first_looks(tmp_path, each, Budget()) for each in groups]
    assert [[look.colours is not None for look in each] for each in looks] == [[True, True], [False, False]]
    assert len(roles.first_looks(tmp_path, groups[0], Budget(seconds=-1))) == 1


def test_a_picture_is_told_by_its_header_or_by_its_pixels_as_is_wanted(tmp_path: Path, monkeypatch: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "a.png")
    smooth_picture(16, 24).save(tmp_path / "a.jpg", exif=exif.tobytes())
    budget = Budget()
    assert look_at(tmp_path / "a.jpg", "a", budget) == Look((24, 16), "RGB", 8, 3)
    assert (budget.pixels, look_at(tmp_path / "a.png", "a", budget, as_map=False)) == (
        2**29,
        Look((16, 24), "RGB", 8, 3),
    )
    as_map = look_at(tmp_path / "a.jpg", "a.jpg", budget, as_map=True)
    assert (as_map.map_problem.partition(";")[0], as_map.colours is None) == ("holds JPEG pixels", False)
    assert budget.pixels == 2**29 - 24 * 16
    monkeypatch.setattr(pixels, "MOST_PIXELS", 16 * 24 - 1)
    assert look_at(tmp_path / "a.png", "a", budget).colours is None
    monkeypatch.setattr(pixels, "MOST_PIXELS", 16 * 24)
    assert look_at(tmp_path / "a.png", "a", budget).colours is not None
    monkeypatch.setattr(pixels, "MOST_BYTES", 10)
    assert look_at(tmp_path / "a.png", "a", budget).colours is None
    assert look_at(tmp_path / "gone.png", "a", budget).problem == "No such file or directory"


def test_values_are_counted_of_whole_numbers_alone_and_colors_in_their_order(tmp_path: Path, monkeypatch: Any) -> None:
    deep = np.repeat(np.array([[0, 300, 300, 70_000]]), 3, 0)
    for kind, expected in ((np.uint16, {0: 3, 300: 6, 4464: 3}), (np.float32, {0: 3, 300: 6, 70_000: 3})):
        tifffile.imwrite(tmp_path / "a.tif", deep.astype(np.int64).astype(kind))
        found = look_at(tmp_path / "a.tif", "a.tif", Budget())
        assert (found.values, found.flat, found.bits, found.bands) == (
            expected, pytest.approx(1 / 3), np.dtype(kind).itemsize * 8, 1,
        )  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", deep.astype(np.float32) + 0.5)
    assert look_at(tmp_path / "a.tif", "a.tif", Budget()).values is None
    budget = Budget()
    for values, seen in ((deep, {0: 3, 300: 6, 70_000: 3}), (deep + 0.5, None)):
        np.save(tmp_path / "a.npy", values.astype(np.float64))
        assert look_at(tmp_path / "a.npy", "a.npy", budget).values == seen
    assert budget.pixels == 2**29 - 24
    np.save(tmp_path / "a.npy", deep.astype(np.float64))
    for most, seen in ((11, False), (12, True)):
        monkeypatch.setattr(pixels, "MOST_PIXELS", most)
        assert (look_at(tmp_path / "a.npy", "a.npy", budget).values is not None) is seen
    colored = np.array([[[200, 100, 7]] * 3 + [[1, 2, 3]]], np.uint8)
    Image.fromarray(colored).save(tmp_path / "c.png")
    found = look_at(tmp_path / "c.png", "c.png", Budget())
    assert (found.colours, found.flat) == ({(200, 100, 7): 3, (1, 2, 3): 1}, pytest.approx(2 / 3))
    assert pixels._flat(np.zeros((5, 1))) == 1.0


def test_bits_and_bands_are_those_of_the_file(tmp_path: Path) -> None:
    palette = Image.new("P", (9, 8))
    palette.putpalette([5, 6, 7, 8, 9, 10])
    palette.save(tmp_path / "a.png")
    found = look_at(tmp_path / "a.png", "a.png", Budget())
    assert (found.bits, found.mode, found.palette) == (1, "P", {0: (5, 6, 7)})
    for bands, kind in ((4, np.uint16), (1, np.uint32), (6, np.float64)):
        form = {"planarconfig": "contig"} if bands > 1 else {}
        values = np.ones((8, 9, bands), kind).squeeze()
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **form)
        found = look_at(tmp_path / "a.tif", "a.tif", Budget(), as_map=None)
        assert (found.size, found.bands, found.bits) == ((8, 9), bands, np.dtype(kind).itemsize * 8)


def test_a_tiff_that_nothing_reads_is_told_with_its_size_and_bands() -> None:
    entries = [(256, 4, 1, 30), (257, 4, 1, 20), (258, 3, 1, 12), (259, 3, 1, 9999), (262, 3, 1, 1), (277, 3, 1, 5)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *each) for each in entries) + b"\0" * 4
    found = look_at(b"II*\0\x08\0\0\0" + body, "a.tif", Budget())
    assert (found.size, found.bands, found.bits, found.mode) == ((20, 30), 5, 12, "")
    assert found.problem


def test_a_summary_is_of_all_that_could_be_read_and_says_the_first_failure() -> None:
    looks = [Look((0, 0), problem="cut"), Look((4, 5), "RGB", 8, 3), Look((9, 9), "L", 16, 1), Look(problem="empty"),
             Look((2, 2), "RGB", 8, 3), Look((3, 3), "RGB", 8, 3)]  # fmt: skip
    found = summary(looks)
    assert (found.read, found.sizes, found.modes) == (6, ((2, 2), (4, 5), (9, 9)), (("RGB", 3), ("L", 1)))
    assert (found.bits, found.bands, found.failed, found.readable) == ((8, 16), (1, 3), "cut", True)
    assert summary(looks[1:3] + looks[:1]).failed == "cut"
    assert (summary(looks[:1]).readable, summary([]).readable) == (False, False)
