"""What stands in which cell of the pictures of an evaluation, pixel by pixel."""

import numpy as np
import pytest
import torch
from toy_data import IGNORE, ToyImages, toy_data

from mae_hydra.evaluation import pictures
from mae_hydra.evaluation.pictures import (
    CELL,
    as_rgb,
    cells,
    reconstruction_rows,
    reconstruction_sheet,
    segmentation_rows,
    segmentation_sheet,
    shares_of,
)
from mae_hydra.inference import Reconstruction

CHANNELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("channels", "shown", "expected"),
    [
        (1, (), [0, 0, 0]),
        (2, (), [0, 0, 0]),  # two are no colors
        (3, (), [0, 1, 2]),
        (4, (), [0, 1, 2]),
        (3, (2, 1, 0), [2, 1, 0]),
        (4, (3, 0, 1), [3, 0, 1]),
        (4, (3,), [3, 3, 3]),
    ],
)
def test_three_of_the_channels_are_shown_and_one_is_grey(channels, shown, expected):
    image = CHANNELS[..., :channels]
    assert np.array_equal(as_rgb(image, shown), image[..., expected])


def test_sixteen_bits_are_shown_in_eight():
    image = np.array([[[0], [256], [257], [65535]]], np.uint16)
    assert as_rgb(image)[0, :, 0].tolist() == [0, 0, 1, 255]


def test_shares_are_half_percents_of_the_pixels_of_a_row():
    grey = shares_of(torch.tensor([[3, 1, 0], [0, 0, 0], [1, 0, 2]]))
    assert grey.dtype == np.uint8
    assert grey[..., 0].tolist() == [[150, 50, 0], [0, 0, 0], [67, 0, 133]]
    assert np.array_equal(grey, np.repeat(grey[..., :1], 3, 2))


def test_pictures_of_a_report_lie_centred_in_cells_without_gaps():
    flat, tall = np.full((2, 4, 3), 10, np.uint8), np.full((4, 1, 3), 20, np.uint8)
    found = cells([[flat, tall]], "two")
    half, quarter = CELL // 2, CELL // 4
    expected = np.full((CELL, 2 * CELL, 3), 255, np.uint8)
    expected[quarter : quarter + half, :CELL] = 10
    left = CELL + (CELL - quarter) // 2
    expected[:, left : left + quarter] = 20
    assert np.array_equal(found.pixels, expected)
    assert (found.caption, found.for_report) == ("two", True)


def views(count: int, *, leaks: bool = False) -> Reconstruction:
    """Original 10, masked 20, prediction 30, pasted 40, and the image's number more."""
    shades = np.arange(count, dtype=np.uint8)[:, None, None, None]
    four = ((np.zeros((count, 4, 4, 3)) + shades + level).astype(np.uint8) for level in (10, 20, 30, 40))
    return Reconstruction(*four, leaks=leaks)


@pytest.fixture
def sheets(monkeypatch):
    """What is drawn on each sheet, in the order in which they were asked for."""
    drawn = []
    monkeypatch.setattr(pictures, "sheet", lambda rows, **words: drawn.append((rows, words)))
    return drawn


@pytest.mark.parametrize(
    ("count", "numbers"), [(3, [[0], [1], [2]]), (4, [[0, 2], [1, 3]]), (5, [[0, 3], [1, 4], [2]])]
)
def test_from_four_images_on_two_stand_side_by_side(sheets, count, numbers):
    reconstruction_sheet(views(count), "title")
    rows, words = sheets[0]
    shades = [[int(picture[0, 0, 0]) for picture in row] for row in rows]
    assert shades == [[number + level for number in row for level in (10, 20, 30, 40)] for row in numbers]
    names = ["original", "masked", "prediction", "prediction + visible"]
    assert words["columns"] == names * len(numbers[0])
    assert (words["title"], words["group"]) == ("title", 4)


def test_a_prediction_of_normalized_patches_says_what_it_has_from_the_original(sheets):
    for leaks in (False, True):
        reconstruction_sheet(views(1, leaks=leaks), "")
    plain, leaking = (words["footnote"] for _, words in sheets)
    assert plain.startswith("Only masked patches are trained on")
    assert leaking.startswith(plain)
    assert "from the original" in leaking.removeprefix(plain)
    assert "original" not in plain


def test_reconstructions_show_the_channels_that_the_data_name():
    found = views(1)
    found.original[..., 2] = 99
    assert reconstruction_rows(found, (2, 1, 0))[0][0][0, 0].tolist() == [99, 10, 10]


def test_class_maps_stand_over_their_image_as_many_times_as_large_as_it():
    data = toy_data(ToyImages([(8, 8)]))
    grey = np.full((8, 8, 3), 100, np.uint8)
    truth, guess = np.zeros((8, 8), np.uint8), np.full((8, 8), 1, np.uint8)
    truth[:, 4:] = 2
    [[shown, first, second]] = segmentation_rows([grey], [truth], [guess], data=data)
    assert {picture.shape for picture in (shown, first, second)} == {(CELL, CELL, 3)}
    assert (shown == 100).all()
    for picture, column, number in ((first, 20, 0), (first, CELL - 20, 2), (second, 20, 1), (second, CELL - 20, 1)):
        expected = 0.72 * data.palette[number] + 0.28 * 100
        assert np.abs(picture[CELL // 2, column] - expected).max() <= 1
    between = np.abs(first - (0.72 * data.palette[1] + 0.28 * 100)).max(2)
    assert (between > 1).all()  # class 1 is not between 0 and 2


def test_a_legend_has_the_classes_of_every_map(sheets):
    data = toy_data(ToyImages([(8, 8)]))
    image, first = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    second, third = first + 2, np.full((8, 8), IGNORE, np.uint8)
    segmentation_sheet([image] * 2, {"ground truth": [first, second], "prediction": [first, third]}, data, "title")
    [(rows, words)] = sheets
    assert [len(row) for row in rows] == [3, 3]
    assert (words["columns"], words["group"]) == (["image", "ground truth", "prediction"], 3)
    assert [entry.name for entry in words["legend"]] == ["sky", "water", "ignored"]
