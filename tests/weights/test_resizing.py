import pytest
import torch
from checkpoint_files import make_encoder

from mae_hydra.weights.resize import grid_of_positions, resize_positions, resize_relative_table


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


def test_relative_tables_are_resized_over_their_offsets_and_the_rows_of_cls_are_kept():
    table = torch.randn(3 * 5 + 3, 2, dtype=torch.float64)  # a grid of 2x3 patches
    resized = resize_relative_table(table, (2, 3), (4, 4))
    assert resized.shape == (7 * 7 + 3, 2)
    assert torch.equal(resized[-3:], table[-3:])
    expected = resample(resample(table[:-3].reshape(3, 5, 2), 7).transpose(0, 1), 7).transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(resized[:-3], expected, rtol=1e-12, atol=1e-12)
    middle = resized[:-3].reshape(7, 7, 2)[3, 3]
    torch.testing.assert_close(middle, table[:-3].reshape(3, 5, 2)[1, 2])  # no offset stays no offset


def test_a_resize_keeps_the_number_type():
    assert resize_positions(torch.randn(1, 5, 4).half(), (2, 2), (3, 3)).dtype == torch.float16


@pytest.mark.parametrize("size", [[32, 32], [16, 32], [64, 24], [8, 40]])
def test_the_grid_of_fixed_positions_is_read_off_the_table(size):
    table = make_encoder(image_size=size).pos_embed.detach()
    expected = (size[0] // 8, size[1] // 8)
    if expected[0] == 1:  # a single row repeats nothing
        assert grid_of_positions(table, {}) is None
    else:
        assert grid_of_positions(table, {}) == expected
        assert grid_of_positions(table.half(), {}) == expected


def test_the_configuration_in_the_file_tells_the_grid_of_learned_positions():
    table = torch.randn(1, 17, 8)
    for size, expected in ((32, (4, 4)), ([16, 64], (2, 8)), ((64, 16), (8, 2))):
        meta = {"config": {"model": {"encoder": {"image_size": size, "patch_size": 8}}}}
        assert grid_of_positions(table, meta) == expected


def test_a_configuration_that_contradicts_the_table_or_is_none_at_all_is_not_believed():
    table = torch.randn(1, 17, 8)
    for encoder in (
        {"image_size": 64, "patch_size": 8},
        {"image_size": "big", "patch_size": 8},
        {"image_size": [4], "patch_size": 1},
        {"image_size": 32, "patch_size": 0},
        None,
    ):
        assert grid_of_positions(table, {"config": {"model": {"encoder": encoder}}}) == (4, 4)
    assert grid_of_positions(torch.zeros(1, 17, 8), {}) == (4, 4)
    assert grid_of_positions(torch.randn(1, 19, 8), {}) is None
