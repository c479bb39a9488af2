"""Colours for classes that came without any."""

import colorsys

import numpy as np

_GOLDEN_RATIO = (5**0.5 - 1) / 2
HUES = 6000  # steps, after which hues bring few new colours


def distinct_colours(count: int) -> np.ndarray:
    """`count` different RGB colours as uint8 (count, 3), the same on every call; neighbours in number differ strongly.

    Hues step by the golden ratio, which comes close to no earlier hue too soon; saturation and brightness alternate, so
    that a thousand classes still differ. They give 2727 different colours at most; beyond, all of RGB in a fixed order.
    """
    colours: list[tuple[int, int, int]] = []
    seen: set[tuple[int, int, int]] = set()
    step = 0
    while len(colours) < count:
        saturation, brightness = ((0.85, 0.9), (0.5, 0.95), (0.9, 0.6))[step % 3]
        red, green, blue = colorsys.hsv_to_rgb(step * _GOLDEN_RATIO % 1, saturation, brightness)
        colour = (round(255 * red), round(255 * green), round(255 * blue))
        if step >= HUES:  # an odd factor: every colour comes once in 2^24 steps
            number = step * 10_368_889 % 2**24
            colour = (number >> 16, number >> 8 & 255, number & 255)
        if colour not in seen:
            seen.add(colour)
            colours.append(colour)
        step += 1
    return np.array(colours, dtype=np.uint8).reshape(count, 3)
