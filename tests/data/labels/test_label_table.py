"""Stored values, classes, and back; and the ways of storing that are proposed for values that were found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mae_hydra.data.label_table import LabelTable, Reading, ranges, readings_of


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
        ([7], []),
        ([255], []),
    ],
)
def test_the_words_that_are_proposed_read_the_values_that_were_found(stored: Any, words: list[str]) -> None:
    present = np.isin(np.arange(256), list(stored))
    found = readings_of(present)
    assert [reading.words() for reading in found] == words
    for reading in found:
        assert reading.table().accepted[present].all()


def test_readings_differ_where_a_value_means_another_class() -> None:
    plain = Reading(3, 255, False)
    values = np.ones(256, dtype=bool)
    assert not plain.differs_on(values, Reading(3, 255, False, {0: 0, 1: 1, 2: 2, 255: "ignore"}))
    assert not Reading(3, 255, True).differs_on(values, Reading(3, 200, True))  # 0 and 255 are ignored all the same
    assert plain.differs_on(values, Reading(3, 3, False))
    values[[3, 255]] = False
    assert not plain.differs_on(values, Reading(3, 3, False))


def test_a_class_without_a_stored_value_is_said() -> None:
    with pytest.raises(ValueError, match="no stored value means class 2"):
        Reading(3, 2, False, {0: 0, 1: 1}).table().stored()


def test_runs_of_values_are_told_shortly() -> None:
    assert ranges(np.array([0, 1])) == "0 and 1"
    assert ranges(np.array([0, 1, 2, 5, 255])) == "0 to 2, 5 and 255"
