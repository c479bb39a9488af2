"""Segmentation scores from a confusion matrix: pure functions, counts in int64, percent out.

K classes. The matrix is (K, K): row = label, column = prediction.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


def count_confusions(prediction: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """int64 (K, K): pixels with label i predicted as j. Pixels labelled `ignore_index` count for nothing.

    Adding up the matrices of several images is exact in any order. ValueError where a value is no class.
    """
    # Here, not above: it takes a second, by which the first training step would be later.
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    counted = labels != ignore_index
    labels, prediction = labels[counted].long(), prediction[counted].long()
    for name, values in (("labels", labels), ("predictions", prediction)):
        if values.numel() and (values.max() >= num_classes or values.min() < 0):
            wrong = values.min() if values.min() < 0 else values.max()
            raise ValueError(f"{name} must be classes 0..{num_classes - 1}, got {int(wrong)}")
    return multiclass_confusion_matrix(prediction, labels, num_classes, validate_args=False)


@dataclass(frozen=True)
class SegmentationScores:
    """All in percent, as mmsegmentation reports them (unrounded).

    `iou`, `accuracy`: (K,), NaN where undefined: both for a class neither labelled nor predicted, `accuracy` also for
    one that is predicted but never labelled (its IoU is 0). `mean_iou` and `mean_accuracy` skip NaN. `pixels`: (K,)
    labelled pixels.
    """

    mean_iou: float
    mean_accuracy: float
    pixel_accuracy: float
    iou: np.ndarray
    accuracy: np.ndarray
    pixels: np.ndarray


def segmentation_scores(confusions: Tensor) -> SegmentationScores:
    """IoU, class accuracy and pixel accuracy of a confusion matrix (K, K)."""
    matrix = confusions.cpu().numpy()
    intersection, labelled, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    iou = _percent(intersection, labelled + predicted - intersection)
    accuracy = _percent(intersection, labelled)
    return SegmentationScores(
        mean_iou=mean_of_defined(iou),
        mean_accuracy=mean_of_defined(accuracy),
        pixel_accuracy=float(_percent(intersection.sum(), labelled.sum())),
        iou=iou,
        accuracy=accuracy,
        pixels=labelled,
    )


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """100 * part / whole, NaN where `whole` is 0."""
    return np.where(whole > 0, 100.0 * part / np.maximum(whole, 1), np.nan)


def boundary_scores(counts: Tensor) -> np.ndarray:
    """(K,) boundary IoU in percent of counts (3, K) as `count_boundaries` gives them; NaN for a class in neither."""
    both, labelled, predicted = counts.cpu().numpy()
    return _percent(both, labelled + predicted - both)


def mean_of_defined(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN where nothing is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
