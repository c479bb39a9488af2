"""Sheets of pictures: every picture is there, untouched, and nothing is cut off."""

from itertools import pairwise

import numpy as np
import pytest

from mae_hydra.figures import LegendEntry, fit, sheet
from mae_hydra.figures.overlay import HATCH_DARK, HATCH_LIGHT
from mae_hydra.figures.sheet import GAP, _wrap
from mae_hydra.figures.style import font

PAPER = 255


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3)).astype(np.uint8)


def places(sheet_pixels: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """(top, left) of every exact copy of `picture`."""
    height, width = picture.shape[:2]
    corners = np.argwhere((sheet_pixels == picture[0, 0]).all(2))
    return [
        (int(top), int(left))
        for top, left in corners
        if np.array_equal(sheet_pixels[top : top + height, left : left + width], picture)
    ]


def test_pictures_that_fit_are_shown_pixel_for_pixel_row_by_row() -> None:
    rows = [[noise(40, 60, 1), noise(60, 40, 2)], [noise(60, 60, 3), noise(30, 60, 4)]]
    found = sheet(rows, columns=["a", "b"], row_names=["one", "two"], title="t", footnote="f", cell=60)
    corners = [[places(found, picture) for picture in row] for row in rows]
    assert all(len(corner) == 1 for row in corners for corner in row)
    centres = np.array(
        [
            [np.add(corner[0], np.array(picture.shape[:2]) / 2) for corner, picture in zip(*pair, strict=True)]
            for pair in zip(corners, rows, strict=True)
        ]
    )
    assert (centres[0, :, 0] == centres[0, 0, 0]).all()  # one row: equal heights
    assert (centres[:, 1, 1] == centres[0, 1, 1]).all()  # one column: equal middles
    assert corners[1][0][0][0] == corners[0][1][0][0] + 60 + GAP  # below the higher one of the row above
    assert centres[0, 0, 1] < centres[0, 1, 1]


def test_small_pictures_are_enlarged_by_whole_factors_and_large_ones_reduced() -> None:
    small = noise(8, 6, 0)
    assert np.array_equal(fit(small, 25, "nearest"), small.repeat(3, 0).repeat(3, 1))
    assert fit(small, 25).shape == (24, 18, 3)
    assert fit(noise(50, 200, 0), 100).shape == (25, 100, 3)
    labels = np.arange(48, dtype=np.uint8).reshape(8, 6)
    assert set(np.unique(fit(labels, 5, "nearest"))) <= set(range(48))
    assert fit(noise(1, 5000, 0), 100).shape == (1, 100, 3)


@pytest.mark.parametrize("cell", [40, 90])
def test_nothing_reaches_into_the_margin_however_long_the_texts(cell: int) -> None:
    words = "a caption that goes on and on without an end in sight " * 4
    legend = [LegendEntry(f"class number {index}", (index * 9, 80, 120)) for index in range(24)]
    legend.append(LegendEntry("ignored", None))
    found = sheet(
        [[noise(cell, cell, i) for i in range(4)]] * 2,
        columns=["original", "masked", "prediction", "pasted"],
        row_names=["first", "second"],
        title=words,
        footnote=words,
        legend=legend,
        cell=cell,
    )
    inner = np.zeros(found.shape[:2], bool)
    inner[20:-20, 20:-20] = True
    assert (found[~inner] == PAPER).all()


def test_every_legend_colour_is_drawn() -> None:
    colours = [(10, 20, 30), (200, 100, 0), (90, 255, 90)]
    legend = [LegendEntry(name, colour) for name, colour in zip("abc", colours, strict=True)]
    found = sheet([[noise(60, 200, 0)]], legend=legend, cell=200)
    for colour in colours:
        assert (found == colour).all(2).sum() >= 100
    striped = sheet([[noise(60, 200, 0)]], legend=[LegendEntry("ignored", None)], cell=200)
    stripes = [int((striped == shade).all(2).sum()) for shade in (HATCH_DARK, HATCH_LIGHT)]
    assert stripes[1] > 1.5 * stripes[0] > 50
    assert sheet([[noise(60, 200, 0)]], columns=[""], cell=200).shape == sheet([[noise(60, 200, 0)]], cell=200).shape


def test_a_group_gap_stands_between_examples_only() -> None:
    row = [noise(30, 30, i) for i in range(6)]
    plain, grouped = sheet([row], cell=30), sheet([row], cell=30, group=2)
    lefts = [places(grouped, picture)[0][1] for picture in row]
    near, far = lefts[1] - lefts[0], lefts[2] - lefts[1]
    assert [right - left for left, right in pairwise(lefts)] == [near, far, near, far, near]
    assert near < far
    assert grouped.shape[1] - plain.shape[1] == 2 * (far - near)


def test_a_row_may_be_shorter_than_the_others() -> None:
    rows = [[noise(30, 30, 0), noise(30, 30, 1)], [noise(30, 30, 2)]]
    found = sheet(rows, columns=["a", "b"], cell=30)
    assert [len(places(found, picture)) for row in rows for picture in row] == [1, 1, 1]


def test_a_text_is_broken_between_words_and_within_one_that_is_wider_than_a_line() -> None:
    small = font(13)
    width = int(small.getlength("abc abc")) + 1
    assert _wrap("abc abc abc d", small, width) == ["abc abc", "abc d"]
    broken = _wrap(f"abc {'w' * 20} d", small, width)
    assert (broken[0], "".join(broken).replace("abc", "", 1).replace(" d", "d")) == ("abc", "w" * 20 + "d")
    assert all(small.getlength(line) <= width for line in broken)
    assert [len(line) for line in broken[1:-2]] == [int(width / small.getlength("w"))] * (len(broken) - 3)
    assert _wrap("ww", small, 1) == ["w", "w"]  # a letter at least
