"""Sheets of validation images for the log and the report."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from mae_hydra.data import ImageData
from mae_hydra.figures import fit, legend_of, overlay, sheet
from mae_hydra.inference import Reconstruction
from mae_hydra.types import Picture

CELL = 224  # pixels; 64-pixel scenes are shown three times as large, 224-pixel crops as they are
OPACITY = 0.72


def reconstruction_rows(found: Reconstruction, shown: Sequence[int] = ()) -> list[list[np.ndarray]]:
    """Original, masked, prediction and pasted for each image."""
    views = (found.original, found.masked, found.prediction, found.pasted)
    return [[as_rgb(view[i], shown) for view in views] for i in range(len(found))]


def reconstruction_sheet(found: Reconstruction, title: str, shown: Sequence[int] = ()) -> np.ndarray:
    """`reconstruction_rows` with names; two images side by side where there are several."""
    rows = reconstruction_rows(found, shown)
    columns = ["original", "masked", "prediction", "prediction + visible"]
    note = "Only masked patches are trained on: where a patch is visible, the prediction means nothing."
    if found.leaks:
        note += " Patch mean and contrast from the original: the model predicts patches normalized by their own."
    return _in_two_halves(rows, columns, title=title, footnote=note, legend=())


def segmentation_rows(
    images: Sequence[np.ndarray], *maps: Sequence[np.ndarray], data: ImageData
) -> list[list[np.ndarray]]:
    """The image, and each of its class maps (ground truth, prediction) over it, for each image."""
    rows = []
    for image, *own in zip(images, *maps, strict=True):
        shown = fit(as_rgb(image, data.shown), CELL)
        large = [fit(classes, CELL, "nearest") for classes in own]
        rows.append(
            [shown, *(overlay(shown, classes, data.palette, opacity=OPACITY, boundaries=True) for classes in large)]
        )
    return rows


def segmentation_sheet(
    images: Sequence[np.ndarray], maps: Mapping[str, Sequence[np.ndarray]], data: ImageData, title: str
) -> np.ndarray:
    """`segmentation_rows` of maps by name, and a legend of the classes that occur."""
    rows = segmentation_rows(images, *maps.values(), data=data)
    legend = legend_of([each for own in maps.values() for each in own], data.class_names, data.palette)
    return _in_two_halves(rows, ["image", *maps], title=title, footnote="", legend=legend)


def cells(rows: Sequence[Sequence[np.ndarray]], caption: str) -> Picture:
    """Pictures in square cells of CELL pixels with nothing between them, for a report that takes them apart."""
    height, width = len(rows), len(rows[0])
    canvas = np.full((height * CELL, width * CELL, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            factor = CELL / max(picture.shape[:2])
            size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
            fitted = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
            top, left = r * CELL + (CELL - fitted.shape[0]) // 2, c * CELL + (CELL - fitted.shape[1]) // 2
            canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return Picture(canvas, caption, for_report=True)


def shares_of(confusions: Tensor) -> np.ndarray:
    """Of the pixels of each class (row) how many half percent were taken for which, as grey levels (C, C, 3)."""
    shares = confusions / confusions.sum(1, keepdim=True).clamp(min=1)
    return np.repeat((200 * shares).round().byte().cpu().numpy()[..., None], 3, 2)


def as_rgb(image: np.ndarray, shown: Sequence[int] = ()) -> np.ndarray:
    """uint8 or uint16 (H, W, C) as RGB uint8 (H, W, 3): the channels `shown`, else the first three; one is grey."""
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    channels = list(shown) or list(range(3 if image.shape[2] >= 3 else 1))
    return image if channels == list(range(image.shape[2])) == [0, 1, 2] else image[..., (channels * 3)[:3]]


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
