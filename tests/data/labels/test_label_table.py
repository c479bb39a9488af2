"""Stored values, classes, and back; and the ways of storing that are proposed for values that were found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mae_hydra.data.label_table import LabelTable, Reading, conventions, ranges, readings_of
from mae_hydra.errors import UserError


def table(**changes: Any) -> LabelTable:
    return LabelTable(**{"num_classes": 3, "ignore_index": 255, "reduce_zero_label": False} | changes)


def test_values_say_what_each_stored_number_means() -> None:
    found = table(values={0: 0, 128: "ignore", 255: 2, 7: 1, 8: 1}, reduce_zero_label=True)
    stored = np.array([[0, 128, 255, 7, 8]], np.uint8)
    assert found.classes(stored, Path("map.png")).tolist() == [[0, 255, 2, 1, 1]]
    assert np.flatnonzero(found.accepted).tolist() == [0, 7, 8, 128, 255]
    assert np.flatnonzero(found.counted).tolist() == [0, 7, 8, 255]


@pytest.mark.parametrize(
    "values", [{256: 0}, {-1: 0}, {0: 3}, {0: -1}, {0: "void"}, {0: True}, {0: None}, {"a": 0}, {0: "ignore"}, {}]
)
def test_values_that_map_to_no_class_are_refused_by_name(values: dict[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"data\.values must map stored values 0\.\.255 to classes 0\.\.2 or to"):
        table(values=values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ignore_index": -1}, r"data.ignore_index must lie in 0\.\.255"),
        ({"ignore_index": 256}, r"data.ignore_index must lie in 0\.\.255"),
        ({"ignore_index": 65536, "wide": True}, "data.ignore_index must lie in"),
        ({"num_classes": 65536, "wide": True}, r"data.num_classes must lie in 1\.\.65535"),
        ({"ignore_values": [0, 256]}, r"data.ignore_values must lie in 0\.\.255, got \[0, 256\]"),
        ({"ignore_values": [0, -1]}, r"data.ignore_values must lie in 0\.\.255, got \[0, -1\]"),
        ({"num_classes": 256, "values": {0: 0}}, r"data.num_classes must lie in 1\.\.255"),
    ],
)
def test_what_no_map_can_hold_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        table(**changes)


def test_more_classes_than_a_byte_holds_have_a_table_of_their_size() -> None:
    found = table(num_classes=300, ignore_index=400, wide=True)
    assert (len(found.accepted), found.class_of.dtype) == (401, np.uint16)
    assert found.classes(np.array([[0, 299, 400]], np.uint16), Path()).tolist() == [[0, 299, 400]]
    for wrong in (300, 399, 401):
        with pytest.raises(UserError, match=f"holds the value {wrong}, 1 pixels"):
            found.classes(np.array([[0, wrong]], np.uint16), Path("map.png"))
    listed = table(num_classes=255, values={254: 254, 0: 0}, reduce_zero_label=True)
    assert listed.classes(np.array([[254]], np.uint8), Path()) == [[254]]
    assert table(num_classes=254, reduce_zero_label=True).classes(np.array([[254]], np.uint8), Path()) == [[253]]


def test_numbers_may_come_as_text_as_from_a_file_of_json() -> None:
    assert table(values={"0": 0, "255": 1}).classes(np.array([[255]], np.uint8), Path()).tolist() == [[1]]


def test_a_class_number_as_ignore_index_takes_that_class_out() -> None:
    found = table(ignore_index=0)
    assert found.classes(np.array([[0, 1, 2]], np.uint8), Path()).tolist() == [[0, 1, 2]]
    assert np.flatnonzero(found.counted).tolist() == [1, 2]
    assert np.flatnonzero(found.accepted).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reduce_zero_label": True},
        {"ignore_index": 3},
        {"values": {5: 0, 9: 1, 200: 2, 0: "ignore"}},
        {"ignore_index": 1},
        {"ignore_index": 2},
    ],
)
def test_what_is_stored_for_a_class_is_read_as_that_class(changes: dict[str, Any]) -> None:
    found = table(**changes)
    assert found.classes(found.stored()[None], Path()).tolist() == [[0, 1, 2]]


def test_of_several_values_of_a_class_the_smallest_is_written_and_a_class_without_one_is_refused() -> None:
    assert table(values={9: 0, 4: 0, 1: 1, 2: 2}).stored().tolist() == [4, 1, 2]
    with pytest.raises(ValueError, match="no stored value means class 2"):
        table(values={0: 0, 1: 1}).stored()


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ([0, 255], ["data.num_classes=2 'data.values={0:0,255:1}'"]),
        ([1, 255], ["data.num_classes=2 'data.values={1:0,255:1}'"]),
        ([0, 1], ["data.num_classes=2 data.reduce_zero_label=false"]),
        ([0, 1, 255], ["data.num_classes=2 data.reduce_zero_label=false"]),
        ([0, 128, 255], ["data.num_classes=3 'data.values={0:0,128:1,255:2}'"]),
        ([0, 38, 75], ["data.num_classes=3 'data.values={0:0,38:1,75:2}'"]),
        ([1, 2, 3], ["data.num_classes=3 data.reduce_zero_label=true"]),
        (
            range(12),
            [
                "data.num_classes=12 data.reduce_zero_label=false",
                "data.num_classes=11 data.reduce_zero_label=true",
                "data.num_classes=11 data.reduce_zero_label=false data.ignore_index=11",
            ],
        ),
        (
            [*range(12), 255],
            ["data.num_classes=12 data.reduce_zero_label=false", "data.num_classes=11 data.reduce_zero_label=true"],
        ),
        (
            [0, 1, 5],
            [
                "data.num_classes=6 data.reduce_zero_label=false",
                "data.num_classes=5 data.reduce_zero_label=true",
                "data.num_classes=5 data.reduce_zero_label=false data.ignore_index=5",
            ],
        ),
        ([0, 1, 6], ["data.num_classes=3 'data.values={0:0,1:1,6:2}'"]),
        (
            [*range(7), 14],
            [
                "data.num_classes=15 data.reduce_zero_label=false",
                "data.num_classes=14 data.reduce_zero_label=true",
                "data.num_classes=14 data.reduce_zero_label=false data.ignore_index=14",
            ],
        ),
        ([*range(7), 16], ["data.num_classes=8 'data.values={0:0,1:1,2:2,3:3,4:4,5:5,6:6,16:7}'"]),
        (
            [*range(8), 20, 255],
            ["data.num_classes=21 data.reduce_zero_label=false", "data.num_classes=20 data.reduce_zero_label=true"],
        ),
        ([1, 2, 255], ["data.num_classes=2 data.reduce_zero_label=true"]),
        ([0, 254, 255], ["data.num_classes=3 'data.values={0:0,254:1,255:2}'"]),
        ([7], []),
        ([255], []),
        ([], []),
    ],
)
def test_the_words_that_are_proposed_read_the_values_that_were_found(stored: Any, words: list[str]) -> None:
    present = np.isin(np.arange(256), list(stored))
    found = readings_of(present)
    assert [reading.words() for reading in found] == words
    for reading in found:
        assert reading.table().accepted[present].all()


@pytest.mark.parametrize(
    ("changes", "words", "beside_plain", "convention"),
    [
        ({}, "data.num_classes=3 data.reduce_zero_label=false", "data.reduce_zero_label=false",
         "data.reduce_zero_label=false"),
        ({"ignore_index": 9, "ignore_values": (7, 8)},
         "data.num_classes=3 data.reduce_zero_label=false data.ignore_index=9 'data.ignore_values=[7, 8]'",
         "data.ignore_index=9 'data.ignore_values=[7, 8]'",
         "data.reduce_zero_label=false data.ignore_index=9 data.ignore_values=[7, 8]"),
        ({"reduce_zero_label": True, "ignore_index": 9},
         "data.num_classes=3 data.reduce_zero_label=true data.ignore_index=9",
         "data.reduce_zero_label=true data.ignore_index=9", "data.reduce_zero_label=true"),
        ({"num_classes": 4, "reduce_zero_label": None, "ignore_index": 400}, "data.num_classes=4 data.ignore_index=400",
         "data.num_classes=4 data.reduce_zero_label=false data.ignore_index=400", "data.ignore_index=400"),
        ({"values": {0: 1, 5: "ignore"}}, "data.num_classes=3 'data.values={0:1,5:ignore}'",
         "'data.values={0:1,5:ignore}'", "data.values"),
    ],
)  # fmt: skip
def test_a_reading_is_told_as_it_is_typed(changes: Any, words: str, beside_plain: str, convention: str) -> None:
    reading, plain = replace(Reading(3, 255, False), **changes), Reading(3, 255, False)
    assert (reading.words(), reading.words(plain), reading.convention()) == (words, beside_plain, convention)


def test_so_many_classes_are_stored_in_three_ways_where_a_byte_holds_them() -> None:
    plain = Reading(254, 255, False)
    assert conventions(254) == [replace(plain, ignore_index=254), plain, replace(plain, reduce_zero_label=True)]
    assert conventions(255) == [Reading(255, 255, False)] * 2
    assert conventions(256) == []


def test_readings_differ_where_a_value_means_another_class() -> None:
    plain = Reading(3, 255, False)
    values = np.ones(256, dtype=bool)
    assert not plain.differs_on(values, Reading(3, 255, False, {0: 0, 1: 1, 2: 2, 255: "ignore"}))
    assert not Reading(3, 255, True).differs_on(values, Reading(3, 200, True))  # 0 and 255 are ignored all the same
    assert plain.differs_on(values, Reading(3, 3, False))
    values[[3, 255]] = False
    assert not plain.differs_on(values, Reading(3, 3, False))


def test_a_reading_fits_where_a_map_can_hold_it() -> None:
    assert Reading(300, 300, None).fits()
    assert Reading(255, 255, None, {0: 0}).fits()
    for too_many in (Reading(256, 255, None, {0: 0}), Reading(255, 255, True), Reading(256, 255, False)):
        assert not too_many.fits()


def test_a_class_without_a_stored_value_is_said() -> None:
    with pytest.raises(ValueError, match="no stored value means class 2"):
        Reading(3, 2, False, {0: 0, 1: 1}).table().stored()


def test_runs_of_values_are_told_shortly() -> None:
    assert ranges(np.array([0, 1])) == "0 and 1"
    assert ranges(np.array([0, 1, 2, 5, 255])) == "0 to 2, 5 and 255"
    assert ranges(np.array([7])) == "7"
    assert ranges(np.array([0, 2, 4, 6])) == "0, 2, 4 and 6"
    assert ranges(np.array([0, 2, 4, 6, 8])) == "0, 2, 4, … and 8"
