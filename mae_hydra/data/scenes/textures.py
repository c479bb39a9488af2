"""Tileable texture fields, made once per image size, from which every scene cuts its materials.

A field is a float32 (S, S) array, mean 0 and standard deviation 1, that wraps around at its borders. Frequencies are in
cycles per image height, so a material has the same scale at every image size and gains fine detail in larger images.
Scenes read the fields at random places: cutting a window costs microseconds, filtering noise for each object far more.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@lru_cache(maxsize=4)
def fields(height: int, width: int) -> dict[str, Field]:
    """All texture fields for images of `height` x `width` pixels, by name. They do not depend on any data seed."""
    side = 2 ** int(np.ceil(np.log2(max(256, 2 * height, 2 * width))))
    rng = np.random.Generator(np.random.Philox(height))
    white = rng.standard_normal((side, side))
    fy = np.abs(np.fft.fftfreq(side)[:, None]) * height
    fx = np.abs(np.fft.rfftfreq(side)[None, :]) * height
    f = np.hypot(fy, fx)

    def filtered(gain: NDArray[np.float64], turn: int) -> NDArray[np.float64]:
        noise = np.roll(white, turn * side // 7, axis=(turn % 2))
        return np.fft.irfft2(np.fft.rfft2(noise) * gain, s=(side, side))

    def band(frequency: NDArray[np.float64], centre: float, octaves: float) -> NDArray[np.float64]:
        return np.exp(-((np.log2(np.maximum(frequency, 1e-3) / centre) / octaves) ** 2))

    soft = filtered(1 / (1 + (f / 2.5) ** 2) ** 1.5, 1)
    rough = filtered(1 / (1 + (f / 3) ** 2) ** 0.8, 2)
    # A difference along the light's direction turns a ridged height map into lit and shaded slopes.
    relief = -np.abs(filtered(1 / (1 + (f / 3.5) ** 2) ** 1.5, 3))
    lit = np.roll(relief, (1, 1), (0, 1)) - np.roll(relief, (-1, -1), (0, 1))
    crowns, _ = cells(side, round(0.11 * height), rng)
    leaves, _ = cells(side, max(3, round(0.055 * height)), rng)
    _, cracks = cells(side, round(0.13 * height), rng)
    raw = {
        "white": white,
        "soft": soft,
        "rough": rough,
        "slopes": lit / lit.std() + 0.35 * rough / rough.std(),
        "blades": filtered(band(fx, 11, 0.8) * np.exp(-((fy / 6) ** 2)), 4),
        "ripples": filtered(band(fy, 8, 0.7) * np.exp(-((fx / 2.5) ** 2)), 5),
        "grains": filtered(band(f, 22, 0.6), 6),
        "crowns": crowns,
        "leaves": leaves,
        "cracks": cracks,
    }
    return {name: standardised(values) for name, values in raw.items()}


def standardised(values: NDArray[np.float64]) -> Field:
    out = ((values - values.mean()) / values.std()).astype(np.float32)
    out.setflags(write=False)  # shared by all scenes of a process
    return out


def cells(side: int, cell: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Round bumps lit from above, and the seams between them, from distances to one point per cell (Worley 1996)."""
    n = max(2, side // cell)
    points = rng.uniform(0.15, 0.85, (n, n, 2))
    height = rng.uniform(-0.35, 0.35, (n, n))
    place = np.arange(side) * n / side
    row, column = (place.astype(int)[:, None], place.astype(int)[None, :])
    y, x = place[:, None] - row, place[None, :] - column
    nearest = np.full((side, side), 9.0)
    second = np.full((side, side), 9.0)
    bump = np.zeros((side, side))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = ((row + dy) % n, (column + dx) % n)
            down, right = y - dy - points[(*at, 0)], x - dx - points[(*at, 1)]
            distance = np.hypot(down, right)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            bump = np.where(closer, 0.9 - 1.1 * distance**2 - 0.9 * down - 0.3 * right + height[at], bump)
    return bump, np.minimum(second - nearest, 0.35)
