"""The sheet a scene is painted on, back to front: colour, labels, and the places that are too uncertain to label."""

from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from mae_hydra.data.scenes.light import Light
from mae_hydra.data.scenes.textures import Field, fields

IGNORE = 255
Array = NDArray[np.float32]
Box = tuple[slice, slice]


@lru_cache(maxsize=4)
def pixel_centres(height: int, width: int) -> tuple[Array, Array]:
    """Rows (H, 1) and columns (1, W) in units of the image height."""
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    half, scale = np.float32(0.5), np.float32(height)
    y, x = ((rows + half) / scale)[:, None], ((columns + half) / scale)[None, :]
    return y, x


class Canvas:
    """Colour (3, H, W) float32 and labels (H, W) uint8 of one scene; lengths are in units of the image height."""

    def __init__(self, size: tuple[int, int], rng: Random, light: Light) -> None:
        self.height, self.width = size
        self.aspect = self.width / self.height
        self.rng = rng
        self.light = light
        self.y, self.x = pixel_centres(*size)
        self.fields = fields(*size)
        self.colour = np.empty((3, *size), np.float32)
        self.labels = np.full(size, IGNORE, np.uint8)
        self.horizon = 0.5

    def box(self, left: float, top: float, right: float, bottom: float) -> Box:
        """The pixels that touch a rectangle, cut at the borders; may be empty."""
        h = self.height
        rows = slice(min(max(int(top * h) - 1, 0), h), min(max(int(bottom * h) + 2, 0), h))
        columns = slice(min(max(int(left * h) - 1, 0), self.width), min(max(int(right * h) + 2, 0), self.width))
        return rows, columns

    def grid(self, box: Box) -> tuple[Array, Array]:
        return self.y[box[0]], self.x[:, box[1]]

    def cut(self, name: str, box: Box) -> Field:
        """A window of a texture field from a random place, mirrored at random, of the size of `box`."""
        field = self.fields[name]
        height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
        row = int(self.rng.random() * (len(field) - height))
        column = int(self.rng.random() * (len(field) - width))
        return field[row : row + height, column : column + width]

    def cover(self, distance: Array) -> Array:
        """Soft coverage 0..1 from a signed distance (positive inside), one pixel wide."""
        return np.clip(distance * self.height + 0.5, 0, 1)

    def paint(self, box: Box, alpha: Array, colour: Array, label: int) -> None:
        """Lay `colour` over the box where `alpha` covers it; half-covered pixels of a border become ignored."""
        behind = self.colour[:, box[0], box[1]]
        behind += (colour - behind) * alpha
        labels = self.labels[box]
        np.putmask(labels, alpha > 0.25, IGNORE)
        np.putmask(labels, alpha > 0.75, label)

    def tone(self, box: Box, alpha: Array, factor: float) -> None:
        """Darken or brighten what is there, as a shadow does; labels stay."""
        self.colour[:, box[0], box[1]] *= 1 + alpha * np.float32(factor - 1)

    def nearness(self, y: float) -> float:
        """0 at the horizon, 1 at the lower border."""
        return (y - self.horizon) / (1 - self.horizon)
