"""Mean and deviation of the pictures of a set, for the words that tell them."""

import numpy as np

from mae_hydra.data.audit.look import measure
from mae_hydra.data.dataset import ImageSet, spread
from mae_hydra.errors import UserError


def statistics(images: ImageSet, most: int) -> tuple[list[float], list[float]]:
    """(mean, deviation) of each channel in units of 0..1, three digits; of `most` pictures at most, spread evenly."""
    pixels, total, squares = 0, np.zeros(1), np.zeros(1)
    for place in spread(len(images), most):
        try:
            found = measure(images[place].image, b"")
        except UserError:  # it is named when it is its turn
            continue
        pixels += found.size[0] * found.size[1]
        total, squares = total + found.total, squares + found.squares
    mean = total / max(pixels, 1)
    deviation = np.sqrt(np.maximum(squares / max(pixels, 1) - mean**2, 0))
    return [round(each / 255, 3) for each in mean.tolist()], [max(round(each / 255, 3), 0.001) for each in deviation]
