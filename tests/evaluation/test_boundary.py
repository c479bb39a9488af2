"""Boundary IoU against the paper's own way: each class eroded by 3x3 squares, one after the other, pixel by pixel."""

import numpy as np
import pytest
import torch
from repeated_erosions import literal

from mae_hydra.evaluation.boundary import boundary_width, count_boundaries
from mae_hydra.evaluation.metrics import boundary_scores

IGNORE = 255


def blobs(height: int, width: int, seed: int) -> torch.Tensor:
    """A class map with regions of some size, and thin and single-pixel ones."""
    dice = np.random.default_rng(seed)
    classes = np.kron(dice.integers(0, 4, (height // 7 + 1, width // 9 + 1)), np.ones((7, 9), dtype=int))[
        :height, :width
    ]
    classes[dice.integers(0, height)], classes[:, dice.integers(0, width)] = 4, 5
    classes[dice.integers(0, height, 5), dice.integers(0, width, 5)] = 6
    return torch.from_numpy(classes).to(torch.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 33), (150, 110), (3, 5), (1, 1)])
@pytest.mark.parametrize("ignored", [False, True])
def test_counts_are_those_of_repeated_erosions(height, width, ignored):
    labels, prediction = blobs(height, width, 1), blobs(height, width, 2)
    prediction[: height // 2] = labels[: height // 2]
    if ignored:
        labels[height // 3 : height // 2, : width // 2] = IGNORE
    found = count_boundaries(prediction, labels, 8, IGNORE)
    assert found.dtype == torch.int64
    assert np.array_equal(found.numpy(), literal(prediction.numpy(), labels.numpy(), 8))


def test_the_width_is_two_percent_of_the_diagonal_and_never_nothing():
    assert [boundary_width(*size) for size in ((512, 683), (300, 400), (10, 10), (1, 1))] == [17, 10, 1, 1]


def test_boundary_pixels_of_a_small_picture_are_counted_by_hand():
    """10 high, 190 wide: d is 4. A class of 90 columns and one of 100, and where the border is, all is boundary."""
    labels = torch.zeros(10, 190, dtype=torch.uint8)
    labels[:, 90:] = 1
    prediction = labels.roll(2, dims=1)
    prediction[:, :2] = 0
    inner = 2  # rows whose distance to the border is more than 4
    left, right = 90 * 10 - (90 - 8) * inner, 100 * 10 - (100 - 8) * inner
    shifted = 92 * 10 - (92 - 8) * inner, 98 * 10 - (98 - 8) * inner
    both = left - 2 * inner, right - 2 * inner - 2 * 8  # columns 86 and 87 do not count; 90 and 91 are no 1 there
    found = count_boundaries(prediction, labels, 3, IGNORE)
    assert found.tolist() == [[both[0], both[1], 0], [left, right, 0], [*shifted, 0]]


def test_a_perfect_prediction_scores_one_hundred_whatever_is_ignored():
    labels = blobs(60, 80, 3)
    prediction = labels.clone()
    labels[20:40, 10:50] = IGNORE
    scores = boundary_scores(count_boundaries(prediction, labels, 9, IGNORE))
    assert np.nanmin(scores) == 100
    assert np.isnan(scores[8])  # a class that is nowhere


def test_a_large_region_shifted_by_a_few_pixels_loses_far_more_at_its_boundary_than_in_all():
    labels = torch.zeros(200, 200, dtype=torch.uint8)
    labels[50:150, 50:150] = 1
    shifted = labels.roll(3, dims=1)
    both, labelled, predicted = count_boundaries(shifted, labels, 2, IGNORE).double()
    near = both / (labelled + predicted - both)
    plain = ((shifted == 1) & (labels == 1)).sum() / ((shifted == 1) | (labels == 1)).sum()
    assert near[1] < 0.7 < 0.9 < plain
