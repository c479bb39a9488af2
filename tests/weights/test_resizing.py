import warnings
from functools import partial

import numpy as np
import pytest
import torch
from checkpoint_files import make_encoder, make_mae, make_upernet
from timm.layers import resize_rel_pos_bias_table

from mae_hydra.weights.grids import known_grid, likely_grid
from mae_hydra.weights.resize import resize_positions, resize_relative_table


def cubic(distance, a=-0.75):
    """Keys' kernel with torch's parameter."""
    distance = abs(distance)
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return 0.0


def resample(values, target):
    """One axis (first) of `values` by the definition: corners not aligned, border repeated, no antialiasing."""
    source = len(values)
    rows = []
    for index in range(target):
        centre = (index + 0.5) * source / target - 0.5
        low = int(centre // 1)
        rows.append(sum(cubic(centre - k) * values[min(max(k, 0), source - 1)] for k in range(low - 1, low + 3)))
    return torch.stack(rows)


@pytest.mark.parametrize(("source", "target"), [((4, 4), (8, 8)), ((7, 7), (5, 3)), ((2, 6), (4, 4))])
def test_positions_are_resized_bicubically_without_antialiasing_and_cls_is_kept(source, target):
    table = torch.randn(1, 1 + source[0] * source[1], 6, dtype=torch.float64)
    resized = resize_positions(table, source, target)
    assert resized.shape == (1, 1 + target[0] * target[1], 6)
    assert torch.equal(resized[:, 0], table[:, 0])
    field = table[0, 1:].reshape(*source, 6)
    expected = resample(resample(field, target[0]).transpose(0, 1), target[1]).transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(resized[0, 1:], expected, rtol=1e-12, atol=1e-12)


def spaced(count, reach):
    """`count` offsets 0, 1, 1 + q, 1 + q + q^2, … of which the last is `reach`, and the same below zero."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        low, high = (low, ratio) if sum(ratio**k for k in range(count)) > reach else (ratio, high)
    above = np.cumsum([ratio**k for k in range(count)])
    return np.concatenate([-above[::-1], [0.0], above])


@pytest.mark.parametrize(
    ("source", "target"), [((14, 14), (32, 32)), ((4, 4), (6, 8)), ((2, 3), (4, 4)), ((8, 8), (4, 4)), ((1, 4), (2, 8))]
)
def test_relative_tables_are_resized_at_beits_spacing_as_timm_does_and_the_rows_of_cls_are_kept(source, target):
    sides, wanted = ([2 * side - 1 for side in grid] for grid in (source, target))
    table = torch.randn(sides[0] * sides[1] + 3, 2)
    resized = resize_relative_table(table, source, target)
    assert torch.equal(resized[-3:], table[-3:])
    field = table[:-3].reshape(*sides, 2).double().numpy()
    for axis in (0, 1):
        reach = wanted[axis] // 2
        read = partial(np.interp, np.arange(-reach, reach + 1), spaced(sides[axis] // 2, reach))
        field = np.apply_along_axis(read, axis, field)
    torch.testing.assert_close(resized[:-3], torch.from_numpy(field).flatten(0, 1).float(), rtol=1e-4, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timms = resize_rel_pos_bias_table(table[:-3].T.reshape(2, *sides), target, (2, *wanted))
    assert torch.equal(resized[:-3], timms.flatten(1).T)


def test_a_neighbour_stays_a_neighbour_in_a_larger_relative_table():
    """What a patch thinks of the patch beside it does not depend on how large the picture is."""
    table = torch.randn(27 * 27 + 3, 1)
    small, large = table[:-3].reshape(27, 27), resize_relative_table(table, (14, 14), (32, 32))[:-3].reshape(63, 63)
    torch.testing.assert_close(large[30:33, 30:33], small[12:15, 12:15])


def test_a_resize_keeps_the_number_type():
    assert resize_positions(torch.randn(1, 5, 4).half(), (2, 2), (3, 3)).dtype == torch.float16


def named(table):
    return {"encoder.pos_embed": table}


@pytest.mark.parametrize("size", [[32, 32], [16, 32], [64, 24], [8, 40], [40, 8], [8, 32]])
def test_the_grid_of_fixed_positions_is_read_off_the_table(size):
    table = make_encoder(image_size=size).pos_embed.detach()
    expected = (size[0] // 8, size[1] // 8)
    assert known_grid(named(table), {}) == expected
    assert known_grid(named(table.half()), {}) == expected


@pytest.mark.parametrize("size", [[32, 32], [16, 64], [8, 128], [128, 8]])
def test_the_decoders_fixed_positions_tell_the_grid_of_an_encoders_learned_ones(size):
    tensors = make_mae(image_size=size).state_dict() | named(torch.randn(1, 17, 16))
    assert known_grid(tensors, {}) == (size[0] // 8, size[1] // 8)


def test_a_relative_table_proves_a_square_and_rules_one_out():
    for size, known, likely in (([32, 32], (4, 4), (4, 4)), ([16, 64], None, None)):
        tensors = make_upernet(image_size=size).state_dict() | named(torch.randn(1, 17, 16))
        assert (known_grid(tensors, {}), likely_grid(tensors, {})) == (known, likely)


def test_the_configuration_in_the_file_tells_the_grid_of_learned_positions():
    table = torch.randn(1, 17, 8)
    for size, expected in ((32, (4, 4)), ([16, 64], (2, 8)), ((64, 16), (8, 2))):
        meta = {"config": {"model": {"encoder": {"image_size": size, "patch_size": 8}}}}
        assert known_grid(named(table), meta) == expected


def test_a_configuration_that_contradicts_the_table_or_is_none_at_all_is_not_believed():
    table = torch.randn(1, 17, 8)
    for encoder in (
        {"image_size": 64, "patch_size": 8},
        {"image_size": "big", "patch_size": 8},
        {"image_size": [4], "patch_size": 1},
        {"image_size": 32, "patch_size": 0},
        None,
    ):
        meta = {"config": {"model": {"encoder": encoder}}}
        assert (known_grid(named(table), meta), likely_grid(named(table), meta)) == (None, (4, 4))
    for table, likely in ((torch.zeros(1, 17, 8), (4, 4)), (torch.randn(1, 19, 8), None)):
        assert (known_grid(named(table), {}), likely_grid(named(table), {})) == (None, likely)


def test_a_half_that_repeats_at_no_divisor_of_its_rows_is_no_grid():
    rows = torch.randn(8, 8)
    rows[:, :4] = rows[torch.arange(8) % 3, :4]
    assert known_grid(named(torch.cat([torch.zeros(1, 8), rows])[None]), {}) is None
    rows[:, :4] = rows[torch.arange(8) % 2, :4]
    assert known_grid(named(torch.cat([torch.zeros(1, 8), rows])[None]), {}) == (4, 2)
