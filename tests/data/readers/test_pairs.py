"""Which photo belongs to which map, list and class: what `data=segmentation` is told, without building a set."""

import codecs
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_hydra.data.readers.class_list import class_list
from mae_hydra.data.readers.folder import split_by_name
from mae_hydra.data.readers.layout import Layout, Part
from mae_hydra.data.readers.pairs import parts_of
from mae_hydra.data.readers.split_lists import Entry, chosen, entries_of
from mae_hydra.data.readers.text_cells import rows_of, text_of
from mae_hydra.errors import UserError


def found(root: Path, files: str, side: str = "train", **changes) -> Part:
    """The part of one side of a set that holds `files`."""
    for name in files.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (1, 1)).save(root / name)
    plain = {
        "root": root, "images": ("img",), "maps": ("ann",), "image_suffix": "", "map_suffix": "", "splits": {},
        "lists": {}, "validation_fraction": 0.5,
    }  # fmt: skip
    return parts_of(Layout(**plain | changes), (side,))[side]


def test_of_several_folders_the_first_that_has_a_name_counts(tmp_path):
    part = found(tmp_path, "new/a.png old/a.png old/b.png ann/a.png ann/b.png", images=("new", "old"))
    assert (part.images, part.maps) == (["new/a.png", "old/b.png"], ["ann/a.png", "ann/b.png"])


def test_maps_stay_with_their_photos_in_the_order_of_the_photos(tmp_path):
    part = found(tmp_path, "y/1.png x/2.png ann/1.png ann/2.png", images=("y", "x"))
    assert (part.images, part.maps, part.keys) == (["x/2.png", "y/1.png"], ["ann/2.png", "ann/1.png"], ["2", "1"])


def test_what_has_no_partner_is_told_of_every_split(tmp_path):
    files = "img/a/1.png ann/a/1.png ann/a/2.png img/b/3.png ann/b/3.png ann/b/4.png"
    part = found(
        tmp_path, files, images=("img/{split}",), maps=("ann/{split}",), splits={"train": ("a", "b")}
    )  # fmt: skip
    assert part.images == ["img/a/1.png", "img/b/3.png"]
    assert part.orphans == ["ann/a/2.png", "ann/b/4.png"]


def test_in_one_folder_the_longer_suffix_tells_what_a_file_is(tmp_path):
    part = found(tmp_path, "all/a.png all/a_gt.png", images=("all",), maps=("all",), map_suffix="_gt")
    assert (part.images, part.maps, part.orphans) == (["all/a.png"], ["all/a_gt.png"], [])


def test_files_of_a_folder_apart_pair_by_their_last_name_only_where_it_is_theirs_alone(tmp_path):
    part = found(tmp_path / "one", "img/x/1.png img/y/2.png ann/p/1.png ann/q/2.png")
    assert part.maps == ["ann/p/1.png", "ann/q/2.png"]
    part = found(tmp_path / "two", "img/x/1.png img/y/1.png ann/p/1.png")
    assert (part.maps, len(part.alone), part.orphans) == ([], 2, ["ann/p/1.png"])


def test_stars_leave_hidden_folders_out_and_endings_are_told_in_any_letters(tmp_path):
    part = found(
        tmp_path, "b/img/1.PNG a/img/1.png .c/img/1.png a/img/1.bmp", images=("*/img",), maps=(), image_suffix=".png"
    )
    assert part.images == ["a/img/1.png", "b/img/1.PNG"]


def test_folders_are_named_by_stars_and_question_marks_and_told_apart_in_keys(tmp_path):
    files = "s1/img/a.png s2/img/a.png s10/img/a.png s1/ann/a.png s2/ann/a.png s10/ann/a.png"
    part = found(tmp_path, files, images=("s?/img",), maps=("s?/ann",))
    assert part == Part(["s1/img/a.png", "s2/img/a.png"], ["s1/ann/a.png", "s2/ann/a.png"], ["s1/a", "s2/a"])


def test_a_file_that_a_pattern_fits_is_no_folder_and_paths_are_told_from_the_root(tmp_path):
    found(tmp_path, "img1/a.png", images=("img*",), maps=())
    (tmp_path / "img2.txt").touch()
    assert found(tmp_path, "", images=("img*",), maps=()) == Part(["img1/a.png"], [], ["img1/a"])
    for root in ("", ".", "./"):
        assert found(tmp_path, "", images=(root,), maps=()).images == ["img1/a.png"]


def test_one_photo_and_map_of_a_key_show_that_folders_count(tmp_path):
    part = found(tmp_path, "img/x/1.png img/y/2.png ann/x/1.png ann/z/2.png")
    assert (part.images, part.alone, part.orphans) == (["img/x/1.png"], ["img/y/2.png"], ["ann/z/2.png"])
    part = found(tmp_path / "upper", "img/1_L.png ann/1_GT.png", image_suffix="_L.PNG", map_suffix="_GT.PNG")
    assert part == Part(["img/1_L.png"], ["ann/1_GT.png"], ["1"])


def test_a_picture_goes_before_an_array_of_its_name_and_two_pictures_are_told(tmp_path):
    (tmp_path / "ann").mkdir()
    np.save(tmp_path / "ann/a.npy", np.zeros((1, 1), np.uint8))
    assert found(tmp_path, "img/a.png ann/a.png") == Part(["img/a.png"], ["ann/a.png"], ["a"])
    two = found(tmp_path, "ann/a.bmp")
    assert (two.maps, two.twice) == (["ann/a.bmp"], [("ann/a.bmp", "ann/a.png")])
    assert found(tmp_path / "again", "img/a.png", images=("img", "./img"), maps=()).twice == []


def test_a_suffix_is_cut_off_the_end_alone_and_an_ending_is_no_wish_for_others(tmp_path):
    part = found(
        tmp_path, "img/a_gt.png img/b.png ann/a_gt_gt.png ann/b_gt.png ann/b_gt.bmp", map_suffix="_gt.png"
    )  # fmt: skip
    assert part == Part(["img/a_gt.png", "img/b.png"], ["ann/a_gt_gt.png", "ann/b_gt.png"], ["a_gt", "b"])


def test_where_a_folder_is_missing_what_lies_there_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"no folder img/train in .* \(there is test/, val/ in img/\); correct data\.ro"
    ):
        found(tmp_path, "img/val/a.png img/test/a.png img/.old/a.png", images=("img/train",))


def test_what_is_held_out_is_of_the_same_photos_and_training_keeps_what_is_wrong(tmp_path):
    found(tmp_path, "img/a.png img/b.png img/c.png img/d.png img/c.bmp ann/a.png ann/b.png ann/c.png ann/x.png")
    (tmp_path / "img/list.txt").touch()
    plain = Layout(tmp_path, ("img",), ("ann",), "", "", {}, {}, 0.5)
    wrong = {
        "alone": ["img/d.png"], "orphans": ["ann/x.png"], "twice": [("img/c.bmp", "img/c.png")],
        "passed_over": Counter({".txt": 1}),
    }  # fmt: skip

    def part(names: Sequence[str], **defects) -> Part:
        images = [f"img/{name}.{'bmp' if name == 'c' else 'png'}" for name in names]
        return Part(images, [f"ann/{name}.png" for name in names], list(names), **defects)

    train, held = split_by_name(["a", "b", "c"], 0.5)
    assert parts_of(plain) == {"train": part(train, **wrong), "validation": part(held)}
    unknown = parts_of(replace(plain, lists={"train": ("c", "b", "y", "a")}))
    assert (unknown["train"].unknown, unknown["validation"].unknown) == (["y"], [])
    whole = Part(["1", "2", "3"], [], ["a", "b", "c"], labels={"a": "x", "c": "z"})
    assert whole.some(["c", "b"]) == Part(["3", "2"], [], ["c", "b"], labels={"c": "z"})
    listed = parts_of(replace(plain, lists={"validation": ("b",), "test": ("a",)}))
    assert listed["train"] == part("c", **wrong)
    assert (listed["validation"].images, listed["validation"].maps) == (["img/b.png"], ["ann/b.png"])


def test_every_name_of_a_split_has_its_list_and_a_pair_counts_once(tmp_path):
    for name, lines in (("a", "img/1.x.png ann/1.png\nimg/1.x.png ann/1.png\n"), ("b", "img/2.png ann/2.png\n")):
        (tmp_path / f"{name}.txt").write_text(lines)
    part = found(
        tmp_path, "img/1.x.png img/2.png ann/1.png ann/2.png", splits={"train": ("a", "b")},
        lists={"train": ("{split}.txt",)},
    )  # fmt: skip
    assert part == Part(["img/1.x.png", "img/2.png"], ["ann/1.png", "ann/2.png"], ["img/1.x", "img/2"])
    (tmp_path / "b.txt").write_text("img\\2.png ann\\2.png\nimg/2.png ann/3.png\nimg/4.png ann/3.png\n")
    part = found(tmp_path, "img/2.png", lists={"train": ("b.txt",)})
    assert part == Part(["img/2.png"], ["ann/2.png"], ["img/2"], unknown=["ann/3.png", "img/4.png"])
    alone = found(tmp_path, "img/2.png", lists={"train": ("b.txt",)}, maps=())
    assert (alone.images, alone.maps) == (["img/2.png"], [])


def test_photos_of_one_name_in_several_splits_have_keys_of_their_own(tmp_path):
    files = "img/a/1.png img/b/1.png img/c/1.png"
    part = found(tmp_path, files, images=("img/{split}",), maps=(), splits={"train": ("a", "b", "c")})
    assert (part.images, part.keys) == (files.split(), ["1", "1 (2)", "1 (2) (2)"])


def test_a_listed_photo_without_a_map_is_told_as_such(tmp_path):
    part = found(tmp_path, "img/a_l.png img/b_l.png ann/a.png", lists={"train": ("img/b", "a", "c")}, image_suffix="_l")
    assert part == Part(["img/a_l.png"], ["ann/a.png"], ["a"], alone=["img/b"], unknown=["c"])


def test_of_a_file_that_is_photo_and_map_the_longer_suffix_decides_before_the_inner_folder(tmp_path):
    part = found(
        tmp_path / "one", "all/in/a.png all/in/a_gt.png", images=("all/in",), maps=("all",), map_suffix="_gt"
    )  # fmt: skip
    assert (part.images, part.maps) == (["all/in/a.png"], ["all/in/a_gt.png"])
    part = found(
        tmp_path / "two", "all/1_a.png all/1_gt_a.png", images=("all",), maps=("all",), image_suffix="_{split}",
        map_suffix="_gt_{split}", splits={"train": ("a",)},
    )  # fmt: skip
    assert (part.images, part.maps) == (["all/1_a.png"], ["all/1_gt_a.png"])
    part = found(
        tmp_path / "three", "all/1_long.png all/1_gt_long.png", images=("all",), maps=("all",),
        image_suffix="_{split}", map_suffix="_gt_long", splits={"train": ("long",)},
    )  # fmt: skip
    assert (part.images, part.maps) == (["all/1_long.png"], ["all/1_gt_long.png"])
    part = found(tmp_path / "five", "all/a_rgb.png all/a.png", images=("all",), maps=("all",), image_suffix="_rgb")
    assert (part.images, part.maps, part.orphans) == (["all/a_rgb.png"], ["all/a.png"], [])
    part = found(tmp_path / "four", "all/a.png all/ann/a.png", images=("all",), maps=("all/ann",))
    assert (part.images, part.maps) == (["all/a.png"], ["all/ann/a.png"])


def test_a_layout_has_splits_wherever_they_are_written(tmp_path):
    plain = Layout(tmp_path, ("img",), ("ann",), "", "", {"train": ("a",)}, {}, 0.5)
    for changes in ({"images": ("x", "{split}")}, {"maps": ("{split}",)}, {"image_suffix": "_{split}"},
                    {"map_suffix": "_{split}"}):  # fmt: skip
        split = replace(plain, **changes)
        assert (plain.has_splits, split.has_splits, split.evaluates_only) == (False, True, False)
        assert replace(split, splits={"validation": ("b",)}).evaluates_only
        assert not replace(split, splits={}, lists={"train": ("a.txt",)}).evaluates_only
        with pytest.raises(UserError, match="nothing says which photos are for training"):
            parts_of(replace(split, splits={}))


def test_a_listed_path_never_leads_out_of_the_root(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "out.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.txt").write_text("../out.png ../out.png\n/other/img/a.png /other/ann/a.png\n")
    part = found(tmp_path / "set", "img/a.png ann/a.png", lists={"train": ("train.txt",)})
    assert (part.images, part.maps, part.unknown) == (["img/a.png"], ["ann/a.png"], ["../out.png"])


def test_what_another_list_names_is_not_for_training_and_defects_stay_told(tmp_path):
    part = found(tmp_path, "img/a.png img/b.png img/c.png ann/a.png ann/b.png", lists={"validation": ("b",)})
    assert (part.images, part.alone) == (["img/a.png"], ["img/c.png"])


def test_files_told_apart_by_their_ending_alone_are_told_of_lists_too(tmp_path):
    part = found(tmp_path, "img/a.png img/a.bmp ann/a.png", lists={"train": ("a",)})
    assert [set(each) for each in part.twice] == [{"img/a.png", "img/a.bmp"}]


def test_a_list_is_read_whatever_its_editor_put_before_it(tmp_path):
    (tmp_path / "a.txt").write_text("# names\n\nx.png y.png\nwith a blank.png\nplain\n", encoding="utf-8-sig")
    assert entries_of(tmp_path, "a.txt", "") == [Entry("x.png", "y.png"), Entry("with a blank.png"), Entry("plain")]
    (tmp_path / "val.csv").write_text("image,map\na.png,b.png\n", encoding="utf-8-sig")
    assert entries_of(tmp_path, "{split}.csv", "val") == [Entry("a.png", "b.png")]


TABLES = {  # two photos and their classes, as spreadsheets write them
    "commas": b'image,label\r\n"a, b.png",sea\r\nc.png,"dry, flat"\r\n',
    "semicolons": b"\xef\xbb\xbfimage;label\r\na, b.png;sea\r\nc.png;dry, flat\r\n",
    "told semicolons": b'sep=;\nimage;label\n"a, b.png";"sea"\nc.png;dry, flat\n',
    "tabs": b'image\tlabel\na, b.png\tsea\n"c.png"\tdry, flat\n',
    "unicode text": "image\tlabel\na, b.png\tsea\nc.png\tdry, flat\n".encode("utf-16"),
    "a long cell": b'codes,image,label\n1,"a, b.png",sea\n' + b"7 9 " * 50_000 + b',c.png,"dry, flat"\n',
}


@pytest.mark.parametrize("form", TABLES)
def test_a_table_of_classes_is_read_as_spreadsheets_write_it(tmp_path, form):
    (tmp_path / "a.csv").write_bytes(TABLES[form])
    wanted = [Entry("a, b.png", label="sea"), Entry("c.png", label="dry, flat")]
    assert entries_of(tmp_path, "a.csv", "", ("image", "label")) == wanted
    (tmp_path / "names.csv").write_bytes(TABLES[form])
    assert class_list(tmp_path, "names.csv", None).names == ("sea", "dry, flat")


def test_a_name_with_blanks_is_one_cell_where_it_is_the_only_picture():
    lines = ["my photo.png 3", "7 a.png b.png", "a.png\tthe map.png", "# a remark", "  # another", ""]
    assert rows_of(lines) == [["my photo.png", "3"], ["7", "a.png", "b.png"], ["a.png", "the map.png"]]


def test_a_table_in_another_encoding_is_said_with_what_to_do(tmp_path):
    (tmp_path / "a.csv").write_bytes("image;label\nstraße.png;1\n".encode("cp1252"))
    for read in (lambda: entries_of(tmp_path, "a.csv", ""), lambda: class_list(tmp_path, "a.csv", None)):
        with pytest.raises(UserError, match=r"line 2 is not in UTF-8: save it so \(in Excel as CSV UTF-8\)"):
            read()


def test_the_beginning_of_a_file_may_end_within_a_letter():
    for whole in ("a,é".encode(), codecs.BOM_UTF16_LE + "a,é".encode("utf-16-le")):
        assert text_of(whole[:-1], cut=True) == "a,"
        with pytest.raises(ValueError, match="not in UTF-8"):
            text_of(whole[:-1])


def test_a_listed_name_that_fits_several_pictures_is_none_of_them():
    keys = ["a/1", "b/1", "b/2", "c/3"]
    assert chosen(["3", "b/1.png", "1", "2"], keys, "") == ["c/3", "b/1", None, "b/2"]
    assert chosen(["/elsewhere/b/2_img.png"], keys, "_img.png") == ["b/2"]


def test_the_order_of_a_listed_part_is_that_of_the_pictures_and_an_unknown_name_is_told(tmp_path):
    part = found(
        tmp_path, "img/a.png img/b.png img/c.png ann/a.png ann/b.png ann/c.png", lists={"train": ("c", "x", "a")}
    )
    assert (part.images, part.unknown) == (["img/a.png", "img/c.png"], ["x"])


@pytest.mark.parametrize("head", ["Red,Green,Blue,Class", "r,g,b,name"])
def test_columns_of_a_table_of_classes_are_found_by_their_names(tmp_path, head):
    (tmp_path / "classes.csv").write_text(f"{head}\n1,2,3,sea\n")
    told = class_list(tmp_path, "classes.csv", None)
    assert (told.names, told.palette.tolist()) == (("sea",), [[1, 2, 3]])
    (tmp_path / "classes.csv").write_text("id,name\n10,sky\n9,sea\n2,land\n")  # in the order of their numbers
    assert class_list(tmp_path, "classes.csv", None).names == ("land", "sea", "sky")
