"""What `data.values` and `data.colours` say, as the decoder of maps takes it; and which maps may lie otherwise."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mae_hydra.data.labels.coding import coding_of, colour_of
from mae_hydra.data.labels.maps import turned_apart


def coded(num_classes: int = 2, **told: Any):
    return coding_of(num_classes=num_classes, names=None, ignore_index=told.pop("ignore_index", 255), **told)


def png(values: Any, dtype: type = np.uint8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.array(values, dtype)).save(file, "PNG")
    return file.getvalue()


def test_a_range_of_colours_holds_both_its_ends():
    coding = coded(colours={"0-127 0-127 0-127": 0, "128-255 128-255 128-255": 1})
    levels = [0, 127, 128, 255]
    assert coding.decode(png([[[level] * 3 for level in levels]]), "map").tolist() == [[0, 0, 1, 1]]
    assert coded(colours={"1 2 3": 1}).decode(png([[[1, 2, 3]]]), "map").tolist() == [[1]]
    assert colour_of("1 2 3", "") == (1, 2, 3)


def test_numbers_above_255_have_a_class_to_the_end_of_their_range():
    coding = coded(values={"0-299": 0, "300-400": 1}, ignore_values=(7,))
    assert coding.decode(png([[6, 7, 299, 300, 400]], np.uint16), "map").tolist() == [[0, 255, 0, 1, 1]]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"colours": {"0 0 0": 0}, "ignore_index": 1}, "ignore_index must be 255 beside data.colours, got 1"),
        ({"colours": {"0 0 0": 0}, "ignore_index": 254}, "ignore_index must be 255 beside data.colours, got 254"),
        ({"colours": {"0 0 0": -1}}, "is said to be -1; wanted is a class 0..1"),
        ({"colours": {"0 0 0": 0}, "values": {0: 0}}, "give one of them"),
        ({"values": {"10-12": "0-1"}}, "not as many classes as values"),
        ({"values": {0: "ignore"}}, "names no class"),
        ({"values": {0: 2}}, "is said to be 2; wanted is a class 0..1"),
        ({"values": {0: True}}, "is said to be True; wanted"),
    ],
)
def test_what_makes_no_sense_is_named(told, sentence):
    with pytest.raises(ValueError, match=sentence):
        coded(**told)


def test_brightness_is_a_fact_that_decides_the_classes():
    every, some = coded(values={"0-127": 0, "128-255": 1}), coded(values={"0-127": 0, "128-254": 1})
    assert (every.brightness, some.brightness) == (True, False)
    assert every.facts != some.facts == ()


@pytest.mark.parametrize(
    ("size", "turns", "apart"),
    [
        ((4, 4), (6, 1), True),  # a square photo on its side: its size does not tell
        ((4, 4), (6, 6), False),
        ((4, 4), (1, 1), False),
        ((4, 6), (6, 1), False),  # the sizes tell
        ((4, 6), (3, 1), True),  # upside down
        ((4, 4), (1, 6), False),
    ],
)
def test_a_photo_may_be_turned_and_its_map_not(tmp_path: Path, size, turns, apart):
    files = []
    for name, turn in zip(("photo", "map"), turns, strict=True):
        exif = Image.Exif()
        exif[0x0112] = turn
        files.append(tmp_path / f"{name}.png")
        Image.new("L", size).save(files[-1], exif=exif.tobytes())
    assert turned_apart(*files) is apart


def test_more_classes_than_16_bits_hold_are_refused_in_words():
    with pytest.raises(ValueError, match=r"data\.num_classes must be at most 65535: class maps of 16 bits"):
        coding_of(num_classes=70_000, names=None, ignore_index=255)
    most = coding_of(num_classes=65_535, names=None, ignore_index=65_535)
    assert most.reading.num_classes == 65_535
