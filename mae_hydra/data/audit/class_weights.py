"""How much a pixel of each class should count, from how often the classes occur."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mae_hydra.data.audit.label_scan import MOST_THREADS, look, spread
from mae_hydra.data.dataset import ImageData
from mae_hydra.data.label_table import Reading
from mae_hydra.errors import UserError

MAPS = 1000  # class maps that are looked at, spread over the training set; the same ones at every start
SHOWN = 3


def median_frequency_weights(data: ImageData) -> tuple[list[float], str]:
    """Weights by median frequency (Eigen and Fergus, arXiv 1411.4734), and a line that tells them.

    A class's frequency is its share of the labelled pixels of those images that hold it; its weight is the median
    frequency over its own, all scaled so that the mean over labelled pixels is 1. A class that was not seen has
    weight 1. UserError where no class map can be read.
    """
    if data.target != "map":
        raise UserError("class_weights=auto needs label maps, which these data have not; give a list of numbers")
    positions = spread(data.train)[:MAPS]
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        looks = list(pool.map(lambda index: look(data.train, index), positions))
    counts = [found[0] for found in looks if not isinstance(found, UserError)]
    reading = data.reading or Reading(data.num_classes, data.ignore_index, None)
    weights = _weights(_by_class(counts, reading))
    if weights is None:
        raise UserError("class_weights=auto found no labeled pixel in the training images; give a list of numbers")
    return weights, _told(weights, data.class_names, len(counts), len(data.train))


def _by_class(counts: list[np.ndarray], reading: Reading) -> np.ndarray:
    """Labelled pixels, int64 (images, classes), from pixels of each stored value (256,)."""
    table = reading.table()
    counted = np.flatnonzero(table.counted)
    pixels = np.zeros((len(counts), len(table.counted)), np.int64)
    for row, count in zip(pixels, counts, strict=True):
        there = counted[counted < len(count)]
        np.add.at(row, table.class_of[there].astype(np.int64), count[there])
    return pixels[:, : reading.num_classes]


def _weights(pixels: np.ndarray) -> list[float] | None:
    of_class, of_image = pixels.sum(0), pixels.sum(1)
    seen = of_class > 0
    if not seen.any():
        return None
    frequency = of_class / np.maximum((of_image[:, None] * (pixels > 0)).sum(0), 1)
    weights = np.ones(len(of_class))
    weights[seen] = np.median(frequency[seen]) / frequency[seen]
    weights[seen] *= of_class.sum() / (of_class * weights)[seen].sum()
    return [float(f"{weight:.6g}") for weight in weights]


def _told(weights: list[float], names: tuple[str, ...], looked: int, total: int) -> str:
    order = np.argsort(weights, kind="stable")
    few = [*order] if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    told = [f"{names[number] if number < len(names) else number} {weights[number]:.3g}" for number in few]
    if len(order) > 2 * SHOWN:
        told.insert(SHOWN, "…")
    return f"class weights by median frequency, from {looked} of {total} class maps: {', '.join(told)}"
