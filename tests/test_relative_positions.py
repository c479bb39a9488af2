"""Rows of a table of relative positions, against the formula pair by pair."""

import pytest
import torch

from mae_hydra.relative_positions import num_relative_positions, relative_position_index, square_grid


@pytest.mark.parametrize(("grid", "cls"), [((2, 3), 1), ((3, 2), 2), ((1, 4), 0)])
def test_every_pair_of_tokens_has_the_row_of_its_offset(grid: tuple[int, int], cls: int) -> None:
    height, width = grid
    rows = (2 * height - 1) * (2 * width - 1) + 3
    patches = [(y, x) for y in range(height) for x in range(width)]

    def row(query: int, key: int) -> int:
        if query < cls or key < cls:
            return rows - (1 if query < cls and key < cls else 3 if query < cls else 2)
        (qy, qx), (ky, kx) = patches[query - cls], patches[key - cls]
        return (qy - ky + height - 1) * (2 * width - 1) + qx - kx + width - 1

    count = cls + len(patches)
    expected = torch.tensor([[row(query, key) for key in range(count)] for query in range(count)])
    assert torch.equal(relative_position_index(grid, cls), expected)
    assert num_relative_positions(grid) == rows


def test_a_square_grid_is_known_by_its_rows_and_others_are_none() -> None:
    assert [square_grid(rows) for rows in (3 + 1, 3 + 9, 3 + 27 * 27, 3 + 15, 5, 0)] == [
        (1, 1), (2, 2), (14, 14), None, None, None
    ]  # fmt: skip
