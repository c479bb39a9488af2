"""What a scene's colours come from: the season, the time of day, and the camera.

The same material has many colours (grass is green, straw, rust or snow) and different materials share them, so colour
alone does not give the class; within one image the colours agree with each other as in a photograph.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]  # (3, 1, 1), red green blue, 0..1

# Base colours of the materials by season, as RRGGBB.
SEASONS: dict[str, dict[str, str]] = {
    "spring": {
        "mountain": "7d8794 8f9a86 a59b8e", "forest": "5f9448 7fa64f 4c7d54", "grass": "86b84e 9cc45c 6fa35a",
        "field": "b8bf5a 8fb35a 8a6a4a", "sand": "d8c69a c9b48c b59a78", "rock": "94908a a89c8c 7e8288",
    },
    "summer": {
        "mountain": "6f7f8c 8a7d6a 5f7a72", "forest": "2f5d34 3f6b3a 28503f", "grass": "5b8a3a 7f9440 4a7b45",
        "field": "d0b04c c2a64a 6f8f3c", "sand": "e2cf9e d2b27c c7a57a", "rock": "8d8478 77777c a08c74",
    },
    "autumn": {
        "mountain": "7a6f78 8b7566 69707c", "forest": "b5652a 8f4a2a a8822f", "grass": "a39447 8a8a48 b09a58",
        "field": "8a5f3a a97b42 6d5438", "sand": "c4a57a b08f6a a38a72", "rock": "807468 6a6a70 93806c",
    },
    "winter": {
        "mountain": "a9b4c4 c9d2dc 8792a6", "forest": "4a5f62 8fa0a8 5f6f78", "grass": "dfe6ec c6d0d6 b9b8a4",
        "field": "d4dae0 b8aea0 a7b2ba", "sand": "cfc8bc b9b0a4 d8dce0", "rock": "7b828c 9aa2ac 666a72",
    },
    "dry": {
        "mountain": "a86a4a b98a62 8f5a4a", "forest": "6f7440 857a48 5f6a48", "grass": "c9b26a b39a58 a8a060",
        "field": "b98a52 caa466 9a6f4a", "sand": "dca878 e0bd8c c98a60", "rock": "9a5f48 b07a5a 85604f",
    },
}  # fmt: skip

# Zenith, horizon and light by time of day; the light multiplies every material.
TIMES: dict[str, tuple[str, str, tuple[float, float, float]]] = {
    "noon": ("3f7fc8", "b5d6ec", (1.08, 1.05, 1.0)),
    "morning": ("6fa3cf", "f0e2c8", (1.05, 0.98, 0.9)),
    "overcast": ("98a2ac", "cfd3d4", (0.86, 0.88, 0.9)),
    "sunset": ("5a5a92", "f2a768", (1.05, 0.78, 0.62)),
    "violet": ("3c4a82", "e0a0b0", (0.86, 0.7, 0.84)),
    "dusk": ("2a3f6e", "8496b8", (0.52, 0.6, 0.82)),
    "night": ("16223f", "3f5478", (0.38, 0.46, 0.68)),
}

WALLS = ("c9b79a", "b5654a", "d9d2c4", "8f8f96", "a87f5a", "e2c9a0", "6f7f8f", "c98a7a", "9aa58a", "f0ead8")
PAINTS = ("c03a30", "2f5fa8", "e0e0e0", "2c2f36", "d8b13a", "3f8f6a", "8f959c", "7a3f7a", "e07a30")


@dataclass(frozen=True)
class Light:
    """The light of one scene. `side` is where the sun stands, -1 left to 1 right; `haze` how fast distance fades."""

    season: str
    zenith: Colour
    horizon: Colour
    tint: Colour
    side: float
    haze: float
    lamps: float

    def material(self, rng: Random, name: str) -> Colour:
        """One of the material's colours of this season, varied, under this light."""
        return self.lit(rng, rng.choice(SEASONS[self.season][name].split()))

    def lit(self, rng: Random, code: str, spread: float = 0.16) -> Colour:
        """A colour code, varied in brightness and hue, under this light."""
        value = rng.uniform(1 - 1.4 * spread, 1 + spread)
        jitter = [value * (1 + rng.uniform(-0.5, 0.5) * spread) for _ in range(3)]
        return colour(code) * np.array(jitter, np.float32).reshape(3, 1, 1) * self.tint

    def hazed(self, value: Colour, nearness: float) -> Colour:
        """`value` seen through the air; nearness is 0 at the horizon and 1 at the lower border."""
        fade = np.float32(self.haze * np.exp(-4.0 * max(nearness, 0.0)))
        return value + (self.horizon - value) * fade


def colour(code: str) -> Colour:
    return np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32).reshape(3, 1, 1)


def draw_light(rng: Random) -> Light:
    time = rng.choices(list(TIMES), (5, 3, 4, 3, 2, 2, 1))[0]
    zenith, horizon, tint = TIMES[time]
    vary = np.array([rng.uniform(0.85, 1.12) for _ in range(3)], np.float32).reshape(3, 1, 1)
    return Light(
        season=rng.choice(list(SEASONS)),
        zenith=colour(zenith) * vary,
        horizon=colour(horizon) * vary,
        tint=np.array(tint, np.float32).reshape(3, 1, 1),
        side=rng.choice((-1, 1)) * rng.uniform(0.35, 1.0),
        haze=rng.uniform(0.1, 0.75),
        lamps={"dusk": 0.5, "night": 0.6, "violet": 0.25}.get(time, 0.0),
    )


def photograph(rng: Random, scene: NDArray[np.float32], grain: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scene light (3, H, W) to an image: white balance, exposure, contrast, toning and sensor noise of one camera."""
    gains = np.array([rng.uniform(0.8, 1.22) for _ in range(3)], np.float32).reshape(3, 1, 1)
    image = scene * (gains * np.float32(rng.uniform(0.75, 1.2)))
    toning = rng.random()
    if toning < 0.25:  # towards one tint, or far enough to be a black-and-white photograph
        grey = np.array((0.3, 0.59, 0.11), np.float32).reshape(3, 1, 1) * image
        tint = np.array([rng.uniform(0.85, 1.15) for _ in range(3)], np.float32).reshape(3, 1, 1)
        image += (grey.sum(axis=0, keepdims=True) * tint - image) * np.float32(rng.uniform(0.4, 1.0))
    elif toning < 0.4:  # cross-processed film: channels trade places
        other = image[list(rng.choice(((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0))))]
        image += (other - image) * np.float32(rng.uniform(0.3, 0.9))
    np.clip(image, 0, 1, out=image)
    image **= np.float32(rng.uniform(0.75, 1.25))
    image = (image - np.float32(0.5)) * np.float32(rng.uniform(0.75, 1.2)) + np.float32(0.5 + rng.uniform(-0.06, 0.06))
    image += grain * np.float32(rng.uniform(0.002, 0.012))
    np.clip(image, 0, 1, out=image)
    image *= 255
    return np.rint(image).astype(np.uint8)
