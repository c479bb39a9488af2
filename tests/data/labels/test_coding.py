"""What `data.values` and `data.colours` say, as the decoder of maps takes it; and which maps may lie otherwise."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mae_hydra.data.label_table import Reading
from mae_hydra.data.labels.coding import coding_of, colour_of
from mae_hydra.data.labels.maps import turned_apart
from mae_hydra.errors import UserError


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
    for text in ("1 2 3", "1, 2,3", "#010203", " #010203 ", [1, 2, 3], (1, "2", 3)):
        assert colour_of(text, "") == (1, 2, 3)
    for wrong in ("1 2", "1 2 3 4", "1 2 3-4", "1 2-3 4", "#01020", [1, 2, 256], 7, None):
        with pytest.raises(ValueError, match=r"here: .* is no color; write 255 0 0 or #ff0000"):
            colour_of(wrong, "here")


def test_numbers_above_255_have_a_class_to_the_end_of_their_range():
    coding = coded(values={"0-299": 0, "300-400": 1}, ignore_values=(7,))
    assert coding.decode(png([[6, 7, 299, 300, 400]], np.uint16), "map").tolist() == [[0, 255, 0, 1, 1]]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"colours": {"0 0 0": 0}, "ignore_index": 1}, "ignore_index must be 255 beside data.colours, got 1"),
        ({"colours": {"0 0 0": 0}, "ignore_index": 254}, "ignore_index must be 255 beside data.colours, got 254"),
        (
            {"colours": {"0 0 0": 0}, "num_classes": 255, "ignore_index": 65535},
            "must be 255 beside data.colours, got 65",
        ),
        ({"colours": {"0 0 256": 0}}, "0 0 256 is no color"),
        ({"colours": {"0 0": 0}}, "0 0 is no color"),
        ({"colours": {"0 0-4 0": 0, "9 0 0": 0, "0 4-9 0": 1}}, "0 0-4 0 and 0 4-9 0 are one color"),
        ({"num_classes": 300, "ignore_index": 299}, "ignore_index=299 is one of 300 classes; .* data.ignore_index=300"),
        ({"values": {"0-3": 0, "3-5": 1}}, "says two things of the stored value 3"),
        ({"values": {"65535-65536": 0}}, "65535-65536 is no stored value"),
        ({"values": {"4-3": 0}}, "4-3 is no stored value"),
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


def test_colors_without_a_class_are_counted_and_named_unless_all_others_have_one():
    pixels = [[[1, 0, 0], [9, 9, 9], [0, 2, 0], [0, 0, 3], [9, 9, 9]]]
    told = {"1 0 0": 0, "0 0 3": "ignore"}
    with pytest.raises(UserError, match=r"holds 2 colors .* have, 9 9 9 \(2 pixels\), 0 2 0 \(1 pixels\); add them"):
        coded(colours=told).decode(png(pixels), "map")
    other = coded(colours=told | {"other": 1})
    assert other.decode(png(pixels), "map").tolist() == [[0, 1, 1, 255, 1]]
    assert coded(colours=told | {"other": "ignore"}).decode(png(pixels), "map").tolist() == [[0, 255, 255, 255, 255]]
    facts = {coded(colours=told | more).facts for more in ({}, {"other": 0}, {"other": 1}, {"other": "ignore"})}
    assert len(facts) == 4
    # Ranges of one class may meet, and colors lie in their own channels.
    apart = coded(colours={"0-4 0 0": 0, "4-9 0 0": 0, "0 1-2 7-9": 1})
    found = apart.decode(png([[[4, 0, 0], [9, 0, 0], [0, 1, 7], [0, 2, 9]]]), "map")
    assert found.tolist() == [[0, 0, 1, 1]]
    with pytest.raises(UserError, match=r"holds 1 color that .* 0 7 1 \(1 pixels\)"):
        apart.decode(png([[[0, 7, 1]]]), "map")
    for count, more in ((12, ";"), (13, ", …;")):
        with pytest.raises(UserError, match=rf"holds {count} colors .*\(1 pixels\){more} add"):
            coded(colours=told).decode(png([[[50 + each, 0, 0] for each in range(count)]]), "map")


@pytest.mark.parametrize(("num_classes", "kind"), [(253, np.uint8), (254, np.uint16)])
def test_colors_of_many_classes_are_told_from_the_unknown(num_classes, kind):
    colours = {f"{number // 256} {number % 256} 0": number for number in range(num_classes)}
    coding = coded(num_classes, colours=colours, ignore_index=max(255, num_classes))
    last = num_classes - 1
    assert coding.decode(png([[[last // 256, last % 256, 0], [0, 5, 0]]]), "map").tolist() == [[last, 5]]
    assert coding.decode(png([[[0, 0, 0]]]), "map").numpy().dtype == kind
    with pytest.raises(UserError, match=r"holds 1 color that data.colours does not have, 9 9 9"):
        coding.decode(png([[[9, 9, 9]]]), "map")


@pytest.mark.parametrize(("reduce", "stored"), [(False, [0, 299, 300, 65535]), (True, [1, 300, 0, 65535])])
def test_more_classes_than_a_byte_holds_are_numbers_of_16_bits(reduce, stored):
    coding = coded(300, ignore_index=300, reduce_zero_label=reduce)
    assert coding.decode(png([stored], np.uint16), "map").tolist() == [[0, 299, 300, 300]]
    wrong = 301 if reduce else 302
    if not reduce:
        with pytest.raises(UserError, match=f"map holds the value {wrong}, 1 pixels"):
            coding.decode(png([[0, wrong]], np.uint16), "map")
    assert coded(255).decode(png([[254, 255]]), "map").tolist() == [[254, 255]]


def test_values_are_told_by_ranges_names_and_in_order():
    told: Any = {"0": "3-4", "10-12": "0-2", 40: 1, "41-42": "ignore"}
    names = ("a", "b", "c", "3-4")
    coding = coding_of(num_classes=4, names=names, ignore_index=255, values=told, ignore_values=(11,))
    assert coding.reading == Reading(
        4, 255, False, {0: 3, 10: 0, 11: 1, 12: 2, 40: 1, 41: "ignore", 42: "ignore"}, (11,)
    )
    wide = coded(values={"255-256": 0, 7: 1}, ignore_values=(256,))
    assert wide.wide == (((255, 256), 0), ((7, 7), 1), ((256, 256), 255))
    assert coded(values={"0-255": 0}).wide == ()


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
