"""Tables that belong to a grid, resized as the programs do from which files come."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from agreement import FLOAT32
from timm.layers import resize_rel_pos_bias_table

from mae_hydra.weights.resize import resize_positions, resize_relative_table

GRIDS = [((14, 14), (32, 32)), ((8, 8), (4, 4)), ((4, 6), (8, 8)), ((8, 8), (6, 12))]


def test_positions_are_resized_as_mmsegmentation_does(agree):
    """Its arithmetic: float32, bicubic, corners not aligned; the cls row stays."""
    table = torch.randn(1, 1 + 14 * 14, 48)
    field = table[:, 1:].reshape(1, 14, 14, 48).permute(0, 3, 1, 2)
    theirs = F.interpolate(field, size=(32, 32), mode="bicubic", align_corners=False)
    expected = torch.cat([table[:, :1], theirs.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
    ours = resize_positions(table, (14, 14), (32, 32))
    agree("positions 14x14 → 32x32: mmsegmentation's interpolation, float32", ours, expected, FLOAT32)


@pytest.mark.parametrize(("source", "target"), GRIDS)
def test_relative_tables_are_resized_as_timm_does(source, target, agree):
    sides, wanted = ([2 * side - 1 for side in grid] for grid in (source, target))
    rows = wanted[0] * wanted[1] + 3
    table = torch.randn(sides[0] * sides[1] + 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source[0] == source[1] and target[0] == target[1]:  # as it resizes the tables of a checkpoint
            expected = resize_rel_pos_bias_table(table, target, (rows, 4))
        else:
            field = resize_rel_pos_bias_table(table[:-3].T.reshape(4, *sides), target, (4, *wanted))
            expected = torch.cat([field.flatten(1).T, table[-3:]])
    ours = resize_relative_table(table, source, target)
    agree("relative position tables, squares and rectangles = timm's", ours, expected, FLOAT32)


def test_relative_tables_lie_near_the_spline_of_beit_and_mmsegmentation(agree):
    """A bump two patches wide; what linear reading costs against the cubic spline of the originals."""
    splines = pytest.importorskip("scipy.interpolate")
    places = _geometric(13, 31)
    offsets = np.arange(-13, 14)
    bump = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / 8)
    table = torch.cat([torch.from_numpy(bump).flatten(), torch.zeros(3, dtype=torch.float64)])[:, None].float()
    inside = np.clip(np.arange(-31, 32), places[0], places[-1])
    spline = splines.RectBivariateSpline(places, places, bump)(inside, inside)
    ours = resize_relative_table(table, (14, 14), (32, 32))[:-3].reshape(63, 63)
    fact = "relative position tables 14x14 → 32x32, smooth, against BEiT's cubic spline"
    agree(fact, ours, torch.from_numpy(spline), 2e-2)


def _geometric(count: int, reach: int) -> np.ndarray:
    """Offsets 0, 1, 1 + q, … on both sides, the last one at `reach`."""
    low, high = 1.01, 1.5
    for _ in range(40):
        ratio = (low + high) / 2
        low, high = (low, ratio) if sum(ratio**k for k in range(count)) > reach else (ratio, high)
    above = np.cumsum([ratio**k for k in range(count)])
    return np.concatenate([-above[::-1], [0.0], above])
