"""Columns and rows of tables, one function at a time: several tables, several row groups, and the second of each."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mae_hydra.data.dataset import Header
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.label_table import Reading
from mae_hydra.data.labels.coding import coding_of
from mae_hydra.data.shards import table_set
from mae_hydra.data.shards.columns import (
    check_alike,
    classes_of,
    image_column,
    label_column,
    picture_columns,
    refuse_others,
)
from mae_hydra.data.shards.order import ShardOrder
from mae_hydra.data.shards.table_set import LabelledTableSet, TableSet
from mae_hydra.data.shards.tables import Table, by_side, features_of, missing_of, tables_of
from mae_hydra.errors import UserError

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")


def written(path: Path, columns: Mapping[str, Any], *, each: int = 2, features: Any = None) -> Table:
    """A table in row groups of `each`; `features` as Hugging Face's library declares them."""
    made = pa.table(dict(columns))
    if features is not None:
        made = made.replace_schema_metadata({"huggingface": features})
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".arrow":
        with pa.ipc.new_stream(str(path), made.schema) as writer:
            writer.write_table(made, max_chunksize=each)
    else:
        pa.parquet.write_table(made, path, row_group_size=each)
    return Table(str(path), path.name)


def declared(**names: Sequence[str]) -> str:
    return str({"info": {"features": {key: {"_type": "ClassLabel", "names": [*each]} for key, each in names.items()}}}
               ).replace("'", '"')  # fmt: skip


def picture(value: int, kind: str = "PNG", size: tuple[int, int] = (3, 2)) -> bytes:
    Image.new("L", size, value).save(file := io.BytesIO(), kind)
    return file.getvalue()


def test_pictures_are_bytes_of_any_form_and_the_image_is_the_one_or_the_usual_one(tmp_path: Path) -> None:
    struct = pa.struct([("path", pa.string()), ("bytes", pa.binary())])
    other = pa.struct([("x", pa.int64())])
    table = written(tmp_path / "a.parquet", {
        "Image": pa.array([{"path": "p", "bytes": b"x"}], struct), "mask": pa.array([b"x"], pa.large_binary()),
        "more": pa.array([b"x"]), "text": ["x"], "place": pa.array([{"x": 1}], other),
    })  # fmt: skip
    assert picture_columns(table) == ["Image", "mask", "more"]
    assert image_column(table, None, None) == "Image"
    assert image_column(table, "more", None) == "more"
    two = written(tmp_path / "b.parquet", {"a": [b"x"], "mask": [b"y"]})
    assert image_column(two, None, "mask") == "a"
    with pytest.raises(UserError, match=r"several columns hold pictures \(a, mask\)"):
        image_column(two, None, None)
    with pytest.raises(UserError, match=r"several columns hold pictures \(img, photo\)"):
        image_column(written(tmp_path / "c.parquet", {"img": [b"x"], "photo": [b"y"]}), None, None)


def test_the_column_of_classes_is_the_declared_one_or_one_that_is_called_so(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"kind": [0], "Target": [1], "other": [2]}
    named = [
        label_column(written(tmp_path / "t.parquet", columns, features=told), None)
        for told in (declared(kind=["a"]), declared(kind=["a"], other=["b"]), None, "no json", "[5]", '{"info": 5}')
    ]
    assert named == ["kind", *["Target"] * 5]
    for unclear in ({"kind": [0]}, {"label": [0], "class": [1]}):
        with pytest.raises(UserError, match=r"which column of t\.parquet holds the classes is not clear"):
            label_column(written(tmp_path / "t.parquet", unclear), None)
    assert features_of(written(tmp_path / "t.parquet", {"x": [0]}, features='{"info": {"features": [1]}}')) == {}


def test_every_table_must_be_as_the_first_one_and_no_row_without_a_class(tmp_path: Path) -> None:
    first, same = (written(tmp_path / f"{name}.parquet", {"label": [0, 1, 2]}) for name in "ab")
    check_alike([first, same], "label", whole=True)
    for cells, said in ((["x"], "whole numbers in a.parquet and texts in c.parquet"),
                        ([0.5], "whole numbers in a.parquet and floating-point numbers in c.parquet"),
                        ([True], "and truth values in c.parquet"), ([[1]], "and list")):  # fmt: skip
        with pytest.raises(UserError, match=f"the column label holds {said}|{said}"):
            check_alike([first, same, written(tmp_path / "c.parquet", {"label": cells})], "label")
    small = written(tmp_path / "d.parquet", {"label": pa.array([1, 2], pa.int8())})
    words = written(tmp_path / "e.parquet", {"label": pa.array(["x", "y"]).dictionary_encode()})
    check_alike([first, small], "label")  # of another width
    check_alike([words, written(tmp_path / "f.parquet", {"label": pa.array(["x"], pa.large_string())})], "label")
    for ending in ("parquet", "arrow"):
        lacking = written(tmp_path / f"g.{ending}", {"label": [None, 1, None, 2, None]})
        check_alike([first, lacking], "label")
        assert lacking.num_missing("label") == 3
        with pytest.raises(UserError, match="3 of 8 rows have nothing in the column label"):
            check_alike([first, lacking], "label", whole=True)
    named = [written(tmp_path / f"{n}.parquet", {"label": [0]}, features=told) for n, told in
             (("x", declared(label=["a", "b"])), ("y", None), ("z", declared(label=["a", "c"])))]  # fmt: skip
    check_alike(named[:2], "label")  # one that declares none
    with pytest.raises(UserError, match=r"1 is b in x\.parquet and c in z\.parquet"):
        check_alike(named, "label")


def classes(
    tmp_path: Path, *cells: Sequence[Any], told: Any = None, num: int | None = None, features: Any = None
) -> Any:
    tables = [written(tmp_path / f"{n}.parquet", {"label": [*each]}, features=features) for n, each in enumerate(cells)]
    return classes_of(tables, "label", told, num)


def test_classes_are_numbered_as_they_are_told_declared_or_found_in_all_tables(tmp_path: Path) -> None:
    assert classes(tmp_path, [True, False]) == (("false", "true"), {False: 0, True: 1})
    assert classes(tmp_path, [False], told=["no", "yes"], num=2) == (("no", "yes"), {False: 0, True: 1})
    assert classes(tmp_path, ["b", "b", "d"], ["a", "c"]) == (("a", "b", "c", "d"), {"a": 0, "b": 1, "c": 2, "d": 3})
    assert classes(tmp_path, ["b", "a"], told=["b", "a"]) == (("b", "a"), {"b": 0, "a": 1})
    assert classes(tmp_path, [0, 5, 0, 1], [3]) == (tuple("012345"), {n: n for n in range(6)})
    assert classes(tmp_path, [0, 1], num=3) == (("0", "1", "2"), {0: 0, 1: 1, 2: 2})
    assert classes(tmp_path, [0.0, 1.0], num=3) == (("0", "1", "2"), {0: 0, 1: 1, 2: 2})
    assert classes(tmp_path, [0.0, 2.0]) == (("0", "1", "2"), {0: 0, 1: 1, 2: 2})
    features = declared(label=["x", "y"])
    assert classes(tmp_path, [0], features=features)[0] == ("x", "y")
    assert classes(tmp_path, [0], features=features, told=["u", "v"])[0] == ("u", "v")
    for cells, said in (([0, -1], "holds -1; classes are whole"), ([0.5], "holds 0.5; "), ([b"x"], "holds pictures; ")):
        with pytest.raises(UserError, match=said):
            classes(tmp_path, cells)
    with pytest.raises(UserError, match=r"of 2 classes; set data\.num_classes=2"):
        classes(tmp_path, ["a", "b"], num=3)
    with pytest.raises(UserError, match="rows have nothing in the column label"):
        classes(tmp_path, [0.0, 1.0], [float("nan")])


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_what_is_no_class_is_found_in_any_row_group_of_any_table(tmp_path: Path, ending: str) -> None:
    def refuse(*cells: Sequence[Any], known: Mapping[Any, int]) -> None:
        refuse_others(
            [written(tmp_path / f"{n}.{ending}", {"label": [*each]}) for n, each in enumerate(cells)], "label", known
        )

    known = {0: 0, 1: 1}
    refuse([0, 1], [1, 1], [0, 0, 1], known=known)
    for wrong, said in (
        ([0, 0, 7], r"has 7 in the column label, .*none of the 2 classes; .*, or set data\.num_classes=8"),
        ([7, 0, 0, 1], r"has 7 in"), ([0, -3, 1], r"has -3 in .* classes; correct the table or data\.label$"),
        ([0, 1, -2, 7], r"has 7 in .* set data\.num_classes=8"), ([0, 1, -2], "has -2 in"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=rf"2\.{ending} {said}"):
            refuse([0, 1], [1, 0], wrong, known=known)
    with pytest.raises(UserError, match=r"1\.\w+ has 'c' in the column label"):
        refuse(["a"], ["a", "b", "a", "c"], known={"a": 0, "b": 1})


def test_tables_are_those_below_a_folder_in_order_and_of_one_subset(tmp_path: Path) -> None:
    for name in ("en/b.parquet", "en/deep/a.ARROW", "de/c.parquet", "de/cache-1.arrow", "en/.d.parquet", "den.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for subset, names in ((None, ["de/c.parquet", "den.parquet", "en/b.parquet", "en/deep/a.ARROW"]),
                          ("en", ["en/b.parquet", "en/deep/a.ARROW"]), ("deep", ["en/deep/a.ARROW"])):  # fmt: skip
        found = tables_of(str(tmp_path), subset)
        assert [each.name for each in found] == names
        assert [each.place for each in found] == [str(tmp_path / name) for name in names]
    [one] = tables_of(str(tmp_path / "den.parquet"), None)
    assert one == Table(str(tmp_path / "den.parquet"), "den.parquet")


def test_a_side_is_told_by_the_innermost_word_of_a_name_and_numbers_tell_what_is_missing() -> None:
    names = ["val/train-0.parquet", "data/Valid-0.arrow", "dev.parquet", "validation/x-1.parquet", "x.parquet",
             "testing/0.parquet", "latest/val0.parquet", "my_test/0.parquet"]  # fmt: skip
    tables = [Table("", name) for name in names]
    usual = by_side(tables, {"train": "train", "validation": "validation", "test": "test"})
    assert {side: [names.index(each.name) for each in those] for side, those in usual.items()} == {
        "train": [0, 4, 6], "validation": [1, 2, 3], "test": [5, 7],
    }  # fmt: skip
    own = by_side(tables, {"train": "x", "validation": "test", "test": None})
    assert {side: [names.index(each.name) for each in those] for side, those in own.items()} == {
        "train": [0, 1, 2, 3, 4, 5, 6], "validation": [7],
    }  # fmt: skip
    there = ["a/train-00000-of-00003.parquet", "a/train-00001-of-00003.parquet", "b/t-00001-of-00002.arrow", "c.arrow"]
    assert missing_of(there) == ["a/train-00002-of-00003.parquet", "b/t-00000-of-00002.arrow"]


def test_bounds_are_those_of_all_row_groups_or_are_not_told(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.parquet", {"label": [3, 5, 1, 9], "text": [*"bdac"]})
    assert [whole.bounds(name) for name in ("label", "text", "gone")] == [(1, 9), ("a", "d"), None]
    assert written(tmp_path / "b.parquet", {"label": [0, 1, None, None]}).bounds("label") is None
    assert written(tmp_path / "c.arrow", {"label": [0, 1]}).bounds("label") is None
    whole.__dict__["_opened"] = (os.getpid() + 1, "of the process that this one was forked from")
    assert whole.sizes == [2, 2]


@pytest.fixture
def two(tmp_path: Path) -> list[Table]:
    """5 and 4 rows in row groups of 2, whose pictures are 10, 11 … and whose classes 0, 1, 2, 0 …"""
    return [
        written(tmp_path / f"{name}.parquet",
                {"image": [picture(10 + n) for n in rows], "label": [n % 3 for n in rows], "mask": [
                    picture(n % 3) if n != 8 else None for n in rows]})
        for name, rows in (("a", range(5)), ("b", range(5, 9)))
    ]  # fmt: skip


def rows(tables: Sequence[Table], chosen: Sequence[int] | None = None, kind: Any = TableSet, **changes: Any) -> Any:
    own: dict[str, Any] = {"image": "image", "label": "label", "classes": {0: 0, 1: 5}, "channels": 1, "window": 3}
    return kind(tables, None if chosen is None else np.array(chosen), **own | changes)


def test_rows_are_those_that_were_chosen_with_their_own_names_classes_and_pictures(two: list[Table]) -> None:
    some = rows(two, [1, 3, 4, 6, 7])
    assert some.names() == ["a.parquet:1", "a.parquet:3", "a.parquet:4", "b.parquet:1", "b.parquet:2"]
    assert [some.class_id(n) for n in range(5)] == [5, 0, 5, 0, 5]
    assert [(some.stored(n).name, some.stored(n).class_id) for n in (-1, 3)] == [
        ("b.parquet:2.png", 5), ("b.parquet:1.png", 0),
    ]  # fmt: skip
    assert [int(some[n].image[0, 0, 0]) for n in range(5)] == [11, 13, 14, 16, 17]
    whole = rows(two)
    assert (len(whole), whole.names()[4:6]) == (9, ["a.parquet:4", "b.parquet:0"])
    assert whole.class_id(5) is None
    with pytest.raises(UserError, match=r"b\.parquet:0\.png has 2 in the column label, which is none of the 2 classes"):
        whole.stored(5)
    without = rows(two, classes=None)
    assert (without.class_id(0), without.stored(0).class_id) == (None, None)
    with pytest.raises(IndexError):
        some.stored(5)


@pytest.mark.parametrize(("kind", "ending"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"),
                                              ("BMP", "bmp"), ("TIFF", "tif"), ("JPEG2000", "jp2")])  # fmt: skip
def test_the_name_of_a_row_ends_as_its_picture_begins(tmp_path: Path, kind: str, ending: str) -> None:
    table = written(tmp_path / "a.parquet", {"image": [picture(1), picture(7, kind, (8, 8))]})
    assert rows([table], label=None).stored(1).name == f"a.parquet:1.{ending}"


def test_the_other_order_of_bytes_is_a_tiff_as_well(tmp_path: Path) -> None:
    table = written(tmp_path / "a.parquet", {"image": [b"MM\0*rest"]})
    assert rows([table], label=None).stored(0).name == "a.parquet:0.tif"


def test_what_tells_a_set_of_rows_changes_with_all_that_it_is_made_of(two: list[Table]) -> None:
    whole = rows(two)
    ranged = rows(two)
    ranged.pixel_range = PixelRange((0,), (9,))
    digests = [each.digest() for each in (whole, ranged, rows(two, image="mask"), rows(two, label="mask"),
                                          rows(two, range(8)), rows(two[:1]))]  # fmt: skip
    assert len({*digests, rows(two).digest()}) == len(digests)
    sets = rows(two, range(8)), rows(two, [*range(7), 8]), whole, rows([two[1], two[0]])
    assert len({each.listing() for each in sets}) == 4
    regrouped = Path(two[0].place).parent / "regrouped/a.parquet"
    again = written(regrouped, {"image": [picture(10 + n) for n in range(5)], "label": [0] * 5}, each=3)
    assert rows([again, two[1]]).listing() != whole.listing()
    before = [whole.stamp(0), whole.stamp(7), whole.contents(), whole.digest()]
    os.utime(two[1].place, ns=(1, 10**9))
    again = rows(two)
    assert [a == b for a, b in zip(before, [again.stamp(0), again.stamp(7), again.contents(), again.digest()],
                                   strict=True)] == [True, False, True, False]  # fmt: skip
    assert whole.stamp(6) != whole.stamp(7)
    with open(two[1].place, "ab") as file:
        file.write(b"more")
    assert again.contents() != before[2]


def test_an_epoch_of_rows_goes_by_row_groups_of_what_was_chosen(two: list[Table]) -> None:
    order = rows(two, [0, 1, 3, 6, 8]).order(7, 2)
    expected = ShardOrder([2, 1, 1, 1], seed=7, global_batch=2, window=3, most_lanes=4)
    assert [order(epoch, n) for epoch in (0, 1) for n in range(4)] == [
        expected(epoch, n) for epoch in (0, 1) for n in range(4)
    ]
    long = rows(two).order(0, 8)
    assert (long.lanes, rows(two).order(0, 2).lanes) == (4, 2)


def test_of_row_groups_that_are_held_the_longest_unused_one_goes(two: list[Table], monkeypatch: Any) -> None:
    found = rows(two, label=None)
    found.stored(0)
    monkeypatch.setattr(table_set, "MOST_BYTES", int(2.5 * found._held[0].nbytes))
    held = []
    for index in (2, 0, 5, 0, 2):
        found.stored(index)
        held.append(list(found._held))
    assert held == [[0, 1], [1, 0], [0, 3], [3, 0], [0, 1]]


def labelled(tables: Sequence[Table], **changes: Any) -> Any:
    found = rows(tables, kind=LabelledTableSet, label="mask", classes=None)
    own: dict[str, Any] = {"num_classes": 3, "names": None, "ignore_index": 255, "ignore_values": (),
                           "reduce_zero_label": False, "values": None, "colours": None}  # fmt: skip
    found.coding = coding_of(**own | changes)
    return found


def test_class_maps_beside_rows_are_read_by_their_coding_which_is_a_part_of_the_digest(two: list[Table]) -> None:
    found = labelled(two, values={0: 2, 1: "ignore", 2: 1})
    assert [found[n].label.unique().tolist() for n in range(4)] == [[2], [255], [1], [2]]
    assert (found.header(1), found.coding.reading) == (
        Header((2, 3), "L", False, 1), Reading(3, 255, False, {0: 2, 1: "ignore", 2: 1}),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"b\.parquet:3\.png has no class map"):
        found[8]
    codings = ({}, {"values": {0: 2, 1: 1, 2: 0}}, {"values": {0: 0, 1: 1}}, {"colours": {"0 0 0": 0}},
               {"colours": {"9 0 0": 0}}, {"ignore_values": [9]})  # fmt: skip
    digests = [labelled(two, **each).digest() for each in codings]
    assert len({*digests, rows(two, label="mask").digest()}) == len(codings) + 1
    assert labelled(two).digest() == digests[0]
