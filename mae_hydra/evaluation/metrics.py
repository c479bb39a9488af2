"""Segmentation scores from a confusion matrix: pure functions, counts in int64, percent out.

C classes. The matrix is (C, C): row = label, column = prediction.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def count_confusions(prediction: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """int64 (C, C): pixels with label i predicted as j. Pixels labelled `ignore_index` count for nothing.

    Adding up the matrices of several images is exact in any order. On the host ValueError where a value is no class; on
    an accelerator such pixels count for nothing (see `count_without_waiting`).
    """
    if labels.device.type != "cpu":
        return count_without_waiting(prediction, labels, num_classes, ignore_index)
    check_classes("labels", labels, num_classes, ignore_index)
    check_classes("predictions", prediction[labels != ignore_index], num_classes)
    nothing = num_classes**2
    cells = torch.where(labels != ignore_index, labels.long() * num_classes + prediction.long(), nothing)
    return torch.bincount(cells.flatten(), minlength=nothing + 1)[:-1].view(num_classes, num_classes)


def count_without_waiting(prediction: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Count as `count_confusions`, without waiting for the device, so without a look at values: check them before.

    torchmetrics' functional form waits twice an image: to choose the labelled pixels, and to learn the number of cells.
    """
    nothing = num_classes**2
    labels, prediction = labels.long(), prediction.long()
    counted = (labels >= 0) & (labels < num_classes) & (prediction >= 0) & (prediction < num_classes)
    counted &= labels != ignore_index
    cells = torch.where(counted, labels * num_classes + prediction, nothing).flatten()
    counts = torch.zeros(nothing + 1, dtype=torch.int64, device=cells.device)
    counts.scatter_add_(0, cells, torch.ones_like(cells))
    return counts[:-1].view(num_classes, num_classes)


def check_classes(name: str, values: Tensor, num_classes: int, ignore_index: int | None = None) -> None:
    """ValueError where one of `values` is neither a class nor `ignore_index`; waits for the device."""
    if ignore_index is not None:
        values = values[values != ignore_index]
    if values.numel():
        least, most = (int(value) for value in values.aminmax())
        if least < 0 or most >= num_classes:
            raise ValueError(f"{name} must be classes 0..{num_classes - 1}, got {least if least < 0 else most}")


@dataclass(frozen=True)
class SegmentationScores:
    """All in percent, as mmsegmentation reports them (unrounded).

    `iou`, `accuracy`: (C,), NaN where undefined: both for a class neither labelled nor predicted, `accuracy` also for
    one that is predicted but never labelled (its IoU is 0). `dice`: (C,), 2 TP / (2 TP + FP + FN), which is the F-score
    with beta 1, NaN where the IoU is. `precision`: (C,), NaN for a class that is never predicted. Recall is `accuracy`.
    The means skip NaN. `pixels`: (C,) labelled pixels.
    """

    mean_iou: float
    mean_accuracy: float
    pixel_accuracy: float
    mean_dice: float
    mean_precision: float
    iou: np.ndarray
    accuracy: np.ndarray
    dice: np.ndarray
    precision: np.ndarray
    pixels: np.ndarray


def segmentation_scores(confusions: Tensor) -> SegmentationScores:
    """All scores of a confusion matrix (C, C)."""
    matrix = confusions.cpu().numpy()
    intersection, labelled, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    iou = _percent(intersection, labelled + predicted - intersection)
    accuracy = _percent(intersection, labelled)
    dice = _percent(2 * intersection, labelled + predicted)
    precision = _percent(intersection, predicted)
    return SegmentationScores(
        mean_iou=mean_of_defined(iou),
        mean_accuracy=mean_of_defined(accuracy),
        pixel_accuracy=float(_percent(intersection.sum(), labelled.sum())),
        mean_dice=mean_of_defined(dice),
        mean_precision=mean_of_defined(precision),
        iou=iou,
        accuracy=accuracy,
        dice=dice,
        precision=precision,
        pixels=labelled,
    )


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """100 * part / whole, NaN where `whole` is 0."""
    return np.where(whole > 0, 100.0 * part / np.maximum(whole, 1), np.nan)


def boundary_scores(counts: Tensor) -> np.ndarray:
    """(C,) boundary IoU in percent of counts (3, C) as `count_boundaries` gives them; NaN for a class in neither."""
    both, labelled, predicted = counts.cpu().numpy()
    return _percent(both, labelled + predicted - both)


def mean_of_defined(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN where nothing is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
