"""Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562): the IoU of what lies near the edges of a class.

The boundary region of a class is what an erosion by d pixels takes from it, the picture's border included; d is 2 % of
the picture's diagonal. The paper erodes each class by 3x3 squares, d times over. Here all classes are done at once: a
pixel survives exactly if the (2d + 1)-square around it lies in the picture and holds one class only, which is where the
largest class in the square is the smallest as well.

Shape letters: H W pixels, C classes.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

DIAGONAL_SHARE = 0.02


def boundary_width(height: int, width: int) -> int:
    """d in pixels: 2 % of the diagonal, rounded, at least 1."""
    return max(round(DIAGONAL_SHARE * math.hypot(height, width)), 1)


def boundary_pixels(classes: Tensor, distance: int) -> Tensor:
    """bool (H, W): True where a class map (H, W) is within `distance` of another class or of the border."""
    values = classes[None].float()  # every class below 2^24 is exact
    inside = torch.zeros_like(classes, dtype=torch.bool)
    inside[distance:-distance, distance:-distance] = True
    return ~inside | (_largest(values, distance) != -_largest(-values, distance))


def count_boundaries(prediction: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """int64 (3, C): boundary pixels of each class in both maps, in `labels`, in `prediction`; both maps are (H, W).

    What is labelled `ignore_index` counts for nothing and is an edge of either map, so that a perfect prediction
    scores 1. Adding up several images is exact in any order.
    """
    counted = labels != ignore_index
    labels = labels.long()
    prediction = torch.where(counted, prediction.long(), ignore_index)
    distance = boundary_width(*labels.shape)
    in_labels = boundary_pixels(labels, distance) & counted
    in_prediction = boundary_pixels(prediction, distance) & counted
    in_both = in_labels & in_prediction & (labels == prediction)
    rows = ((labels, in_both), (labels, in_labels), (prediction, in_prediction))
    return torch.stack([torch.bincount(classes[chosen], minlength=num_classes) for classes, chosen in rows])


def _largest(values: Tensor, distance: int) -> Tensor:
    """(H, W): the largest value of each (2 distance + 1)-square, one axis after the other."""
    side = 2 * distance + 1
    rows = max_pool2d(values, (side, 1), stride=1, padding=(distance, 0))
    return max_pool2d(rows, (1, side), stride=1, padding=(0, distance))[0]
