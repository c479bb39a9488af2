import colorsys
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from mae_hydra.data.augment.photometric import (
    Distortion,
    distort,
    distort_batch,
    draw_distortion,
    hsv_to_rgb,
    rgb_to_hsv,
    scale,
    turn,
)
from mae_hydra.seeds import generator

COLOURS = np.random.default_rng(0).integers(0, 256, (3, 1, 400), dtype=np.uint8)
COLOURS[:, 0, :8] = np.array(list(itertools.product((0, 255), repeat=3))).T  # the corners: black, white, pure colours
COLOURS[:, 0, 8:12] = 77  # greys


def distorted_by(image: torch.Tensor, rng: Any) -> torch.Tensor:
    return distort(image, draw_distortion(rng))


def image_of(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.copy())


def test_hsv_is_that_of_colorsys_in_opencvs_units() -> None:
    """Hue in steps of two degrees (0..179), saturation and value in 0..255, each rounded to the nearest."""
    hue, saturation, value = (part[0].tolist() for part in rgb_to_hsv(image_of(COLOURS)))
    for position, (red, green, blue) in enumerate(COLOURS[:, 0].T / 255):
        h, s, v = colorsys.rgb_to_hsv(red, green, blue)
        assert abs((hue[position] - 180 * h + 90) % 180 - 90) <= 0.501
        assert abs(saturation[position] - 255 * s) <= 0.501
        assert value[position] == round(255 * v)
        assert 0 <= hue[position] <= 179


def test_hsv_back_to_rgb_is_that_of_colorsys() -> None:
    rng = np.random.default_rng(1)
    hue = rng.integers(0, 180, 500)
    saturation, value = rng.integers(0, 256, (2, 500))
    rgb = hsv_to_rgb(*(torch.from_numpy(part[None].astype(np.uint8)) for part in (hue, saturation, value)))
    for position in range(500):
        expected = colorsys.hsv_to_rgb(hue[position] / 180, saturation[position] / 255, value[position] / 255)
        assert np.abs(rgb[:, 0, position].numpy() - 255 * np.array(expected)).max() <= 0.501


def test_there_and_back_loses_no_more_than_the_hues_rounding() -> None:
    back = hsv_to_rgb(*rgb_to_hsv(image_of(COLOURS)))
    assert np.abs(back.numpy().astype(int) - COLOURS).max() <= 5  # one degree of hue is 255 / 60 levels
    assert torch.equal(back[..., 8:12], image_of(COLOURS)[..., 8:12])


@pytest.mark.parametrize(
    ("factor", "offset", "expected"),
    [
        (1.0, 32.9, [32, 65, 232, 255]),
        (1.0, -32.9, [0, 0, 167, 222]),
        (0.5, 0.0, [0, 16, 100, 127]),
        (1.5, 0.0, [0, 49, 255, 255]),
    ],
)
def test_values_are_clipped_and_cut_to_whole_levels(factor: float, offset: float, expected: list[int]) -> None:
    assert scale(torch.tensor([0, 33, 200, 255], dtype=torch.uint8), factor, offset).tolist() == expected


class Scripted:
    """Stands in for the generator: coins as given, every factor and offset at a fixed place of its range."""

    def __init__(self, coins: Iterator[bool]) -> None:
        self.coins = coins

    def random(self) -> float:
        return 0.2 if next(self.coins) else 0.8

    def uniform(self, low: float, high: float) -> float:
        return low + 0.8 * (high - low)

    def integers(self, low: int, high: int) -> int:
        return high - 1


def reference(pixel: np.ndarray, coins: tuple[bool, ...]) -> np.ndarray:
    """The distortion of one RGB pixel by colorsys, in the order of the recipe."""
    brightness, early, *rest = coins
    contrast = rest.pop(0) if early else None
    saturation, hue = rest.pop(0), rest.pop(0)
    late = rest.pop(0) if not early else False
    level = pixel.astype(float)

    def whole(values: Any) -> np.ndarray:
        return np.floor(np.clip(values, 0, 255))

    if brightness:
        level = whole(level - 32 + 0.8 * 64)
    if contrast:
        level = whole(level * 1.3)
    for wanted, change in ((saturation, "saturation"), (hue, "hue")):
        if wanted:
            h, s, v = colorsys.rgb_to_hsv(*level / 255)
            h, s = round(180 * h), round(255 * s)
            if change == "saturation":
                s = int(min(s * 1.3, 255))
            else:
                h = h + 17
            level = np.round(255 * np.array(colorsys.hsv_to_rgb((h % 180) / 180, s / 255, v)))
    return whole(level * 1.3) if late else level


@pytest.mark.parametrize("coins", list(itertools.product((False, True), repeat=5)))
def test_each_step_comes_in_the_order_of_the_recipe(coins: tuple[bool, ...]) -> None:
    """Coins: brightness, contrast early or late, then contrast (if early), saturation, hue, contrast (if late)."""
    values = COLOURS[..., 12:60] // 2 + 40  # away from 0 and 255, where clipping would hide the order
    distorted = distorted_by(image_of(values), Scripted(iter(coins))).numpy()  # type: ignore[arg-type]
    expected = np.stack([reference(pixel, coins) for pixel in values[:, 0].T], axis=1)
    assert np.abs(distorted[:, 0] - expected).max() <= 3  # a hue on the edge of two steps may round either way


def test_a_large_image_is_distorted_as_its_parts_would_be() -> None:
    image = image_of(np.random.default_rng(2).integers(0, 256, (3, 140, 1000), dtype=np.uint8))
    whole = distorted_by(image, generator(3))
    parts = [distorted_by(part, generator(3)) for part in image.split(7, dim=1)]
    assert not torch.equal(whole, image)
    assert torch.equal(whole, torch.cat(parts, dim=1))


@pytest.mark.slow
def test_distortions_stay_within_their_ranges() -> None:
    """On grey, hue and saturation do nothing: what is left is contrast in 0.5..1.5 and brightness in -32..32."""
    grey = torch.full((3, 1, 1), 100, dtype=torch.uint8)
    results = np.array([distorted_by(grey, generator(number)).flatten().tolist() for number in range(3000)])
    assert (results == results[:, :1]).all()
    assert results.min() >= 68 * 0.5 - 1
    assert results.max() <= 132 * 1.5
    assert results.min() < 40
    assert results.max() > 185
    unchanged = (results[:, 0] == 100).mean()
    assert 0.22 < unchanged < 0.30  # neither brightness nor contrast: a quarter, and a few that round to 100


def test_hues_turn_in_both_directions_around_the_circle() -> None:
    hues = torch.tensor([[0, 5, 170, 179]], dtype=torch.uint8)
    for steps, wanted in ((-18, [162, 167, 152, 161]), (17, [17, 22, 7, 16])):
        assert turn(hues, steps).tolist() == turn(hues, torch.tensor([[float(steps)]])).tolist() == [wanted]


def test_every_factor_and_offset_is_drawn_from_its_own_range() -> None:
    asked: list[tuple[float, float]] = []

    class Asked(Scripted):
        def uniform(self, low: float, high: float) -> float:
            asked.append((low, high))
            return len(asked)

        def integers(self, low: int, high: int) -> int:
            asked.append((low, high))
            return len(asked)

    early = draw_distortion(Asked(iter([True] * 5)))  # type: ignore[arg-type]
    assert asked == [(-32, 32), (0.5, 1.5), (0.5, 1.5), (-18, 18)]
    assert early == Distortion(1, 2, 3, 4, None)
    asked.clear()
    late = draw_distortion(Asked(iter([True, False, True, True, True])))  # type: ignore[arg-type]
    assert (asked, late) == ([(-32, 32), (0.5, 1.5), (-18, 18), (0.5, 1.5)], Distortion(1, None, 2, 3, 4))


def test_bands_stay_within_their_levels_after_each_change() -> None:
    for kind, level in ((torch.uint8, 1), (torch.uint16, 257)):
        bands = (torch.tensor([0, 100, 250]) * level).to(torch.int32).to(kind).expand(5, 1, 3)
        found = distort(bands, Distortion(20.0, 0.5, 9.0, 9, None)).to(torch.int32)
        assert (found[4, 0] // level).tolist() == [10, 60, 127]
        dark = distort(bands, Distortion(-20.0, None, None, None, 1.5)).to(torch.int32)
        assert (dark[0, 0] // level).tolist() == [0, 120, 255]


def test_a_batch_is_distorted_as_its_images_would_be() -> None:
    images = image_of(np.random.default_rng(2).integers(0, 256, (40, 3, 5, 7), dtype=np.uint8))
    draws = [draw_distortion(generator(number)) for number in range(40)]
    for place in range(5):
        assert 5 < sum(draw[place] is None for draw in draws) < 39  # every change is there, and left out
    expected = torch.stack([distort(image, draw) for image, draw in zip(images, draws, strict=True)])
    assert torch.equal(distort_batch(images, draws), expected)
