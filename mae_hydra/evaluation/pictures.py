"""Sheets of validation images for the log and the report."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mae_hydra.data import ImageData
from mae_hydra.figures import fit, legend_of, overlay, sheet
from mae_hydra.inference import Reconstruction

CELL = 224  # pixels; 64-pixel scenes are shown three times as large, 224-pixel crops as they are
OPACITY = 0.72


def reconstruction_sheet(found: Reconstruction, title: str) -> np.ndarray:
    """Original, masked, prediction and pasted for each image; two images side by side where there are several."""
    rows = [
        [as_rgb(view[i]) for view in (found.original, found.masked, found.prediction, found.pasted)]
        for i in range(len(found))
    ]
    columns = ["original", "masked", "prediction", "prediction + visible"]
    note = "Only hidden patches are trained on: where a patch is visible, the prediction means nothing."
    if found.leaks:
        note += " Patch mean and contrast from the original: the model predicts patches normalised by their own."
    return _in_two_halves(rows, columns, title=title, footnote=note, legend=())


def segmentation_sheet(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    data: ImageData,
    title: str,
) -> np.ndarray:
    """Image, ground truth and prediction for each image, with a legend of the classes that occur."""
    rows = []
    for image, *maps in zip(images, labels, predictions, strict=True):
        shown = fit(as_rgb(image), CELL)
        large = [fit(classes, CELL, "nearest") for classes in maps]
        rows.append(
            [shown, *(overlay(shown, classes, data.palette, opacity=OPACITY, boundaries=True) for classes in large)]
        )
    legend = legend_of([*labels, *predictions], data.class_names, data.palette)
    return _in_two_halves(rows, ["image", "ground truth", "prediction"], title=title, footnote="", legend=legend)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, C) as RGB (H, W, 3): one channel is grey, of more than three the first three are shown."""
    channels = image.shape[2]
    if channels == 3:
        return image
    return image[..., :3] if channels > 3 else np.repeat(image[..., :1], 3, axis=2)


def channels_last(image: Tensor) -> np.ndarray:
    """(C, H, W) tensor -> (H, W, C) array."""
    return image.permute(1, 2, 0).cpu().numpy()


def _in_two_halves(
    rows: list[list[np.ndarray]], columns: list[str], *, title: str, footnote: str, legend: Sequence
) -> np.ndarray:
    group = len(columns)
    if len(rows) >= 4:
        half = -(-len(rows) // 2)
        rows = [row + other for row, other in zip(rows[:half], [*rows[half:], []], strict=False)]
        columns = columns * 2
    return sheet(rows, columns=columns, title=title, footnote=footnote, legend=legend, cell=CELL, group=group)
