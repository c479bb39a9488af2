"""A sheet of pictures in two layers: a page may turn its paper and its ink, and leave the pictures as they are."""

import numpy as np

from mae_hydra.figures.style import FRAME, INK, PAPER


def split(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """RGB uint8 (H, W, 3) -> the pictures, RGBA (H, W, 4), and the ink around them, grey and alpha (H, W, 2).

    Around them is what is reached from the corner without crossing the frame that `sheet` and `gallery` draw around
    every picture and every patch of a legend. None where the corner is no paper: then it is all picture.
    """
    if tuple(pixels[0, 0]) != PAPER:
        return None
    frame = (pixels == FRAME).all(2)
    around = _reached(~frame)
    beside = np.pad(around, 1)
    height, width = around.shape
    near = [beside[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    around |= frame & np.any(near, axis=0)
    darkness = (255 - pixels.mean(2)) / (255 - np.mean(INK))
    ink = np.where(around, 255 * darkness.clip(0, 1), 0).astype(np.uint8)
    pictures = np.dstack([pixels, np.full_like(ink, 255)])
    pictures[around] = 0
    return pictures, np.dstack([np.zeros_like(ink), ink])


def _reached(free: np.ndarray) -> np.ndarray:
    """Where one gets from the upper left corner along rows and columns of `free` (H, W)."""
    reached = np.zeros_like(free)
    reached[0, 0] = True
    count = 0
    while count != (count := int(reached.sum())):
        reached = _along_rows(reached, free)
        reached = _along_rows(reached.T, free.T).T
    return reached


def _along_rows(reached: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Spread to the whole of every run of `free` in a row that holds something reached."""
    begins = free & ~np.pad(free, ((0, 0), (1, 0)))[:, :-1]
    runs = np.cumsum(begins).reshape(free.shape)  # each has a number; what is not free has that of the run before
    found = np.zeros(runs[-1, -1] + 1, bool)
    found[runs[reached & free]] = True
    return found[runs] & free
