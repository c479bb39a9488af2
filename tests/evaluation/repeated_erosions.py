"""The boundary region as the paper makes it: each class eroded by 3x3 squares, one after the other, pixel by pixel."""

import numpy as np

IGNORE = 255


def eroded(region: np.ndarray) -> np.ndarray:
    """What keeps all its eight neighbours; outside the picture there is nothing."""
    padded = np.pad(region, 1)
    kept = np.zeros_like(region)
    for row in range(region.shape[0]):
        for column in range(region.shape[1]):
            kept[row, column] = padded[row : row + 3, column : column + 3].all()
    return kept


def boundary(region: np.ndarray, distance: int) -> np.ndarray:
    inside = region
    for _ in range(distance):
        inside = eroded(inside)
    return region & ~inside


def literal(prediction: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (3, K) of boundary pixels: in both maps, in the labels, in the prediction."""
    distance = max(round(0.02 * float(np.hypot(*labels.shape))), 1)
    counts = np.zeros((3, num_classes), dtype=np.int64)
    for each in range(num_classes):
        ours = boundary((labels == each), distance)
        theirs = boundary((prediction == each) & (labels != IGNORE), distance)
        counts[:, each] = (ours & theirs).sum(), ours.sum(), theirs.sum()
    return counts
