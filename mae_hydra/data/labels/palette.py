"""Colours for classes that came without any."""

import colorsys
import itertools
from collections.abc import Iterator

import numpy as np

_GOLDEN_RATIO = (5**0.5 - 1) / 2
HUES = 6000  # steps, after which hues bring few new colours


def distinct_colours(count: int) -> np.ndarray:
    """`count` different RGB colours as uint8 (count, 3), the same on every call; neighbours in number differ strongly.

    Hues step by the golden ratio, which comes close to no earlier hue too soon; saturation and brightness alternate, so
    that a thousand classes still differ. They give 2727 different colours at most; beyond, all of RGB in a fixed order.
    """
    colours: dict[tuple[int, int, int], None] = {}  # in order, each once
    for colour in itertools.chain(itertools.islice(_by_hue(), HUES), _all_of_rgb()):
        if len(colours) == count:
            break
        colours[colour] = None
    return np.array(list(colours), dtype=np.uint8).reshape(count, 3)


def _by_hue() -> Iterator[tuple[int, int, int]]:
    for step in itertools.count():
        saturation, brightness = ((0.85, 0.9), (0.5, 0.95), (0.9, 0.6))[step % 3]
        red, green, blue = colorsys.hsv_to_rgb(step * _GOLDEN_RATIO % 1, saturation, brightness)
        yield round(255 * red), round(255 * green), round(255 * blue)


def _all_of_rgb() -> Iterator[tuple[int, int, int]]:
    for step in range(HUES, HUES + 2**24):
        number = step * 10_368_889 % 2**24  # an odd factor: every colour comes once
        yield number >> 16, number >> 8 & 255, number & 255
