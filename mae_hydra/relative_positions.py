"""Which row of a relative-position bias table belongs to which pair of tokens: known to models and to checkpoints."""

import torch
from torch import Tensor


def relative_position_index(grid: tuple[int, int], num_cls_tokens: int = 1) -> Tensor:
    """int64 (N, N): row of the bias table for every (query, key) pair of N = C + h*w tokens, the C of cls first.

    Patch to patch: (qh - kh + h - 1)(2w - 1) + (qw - kw + w - 1). The three last of the n = (2h - 1)(2w - 1) + 3 rows
    belong to cls tokens, all alike: n - 3 cls to patch, n - 2 patch to cls, n - 1 cls to cls.
    """
    height, width = grid
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    row_offset = rows[:, None] - rows[None, :] + height - 1
    column_offset = columns[:, None] - columns[None, :] + width - 1
    rows_in_table = num_relative_positions(grid)
    first = num_cls_tokens  # patch
    index = torch.empty(first + height * width, first + height * width, dtype=torch.int64)
    index[first:, first:] = row_offset * (2 * width - 1) + column_offset
    index[:first, :] = rows_in_table - 3
    index[:, :first] = rows_in_table - 2  # after the rows above: the corner belongs to neither
    index[:first, :first] = rows_in_table - 1
    return index


def num_relative_positions(grid: tuple[int, int]) -> int:
    """Rows of the bias table: all patch offsets, and three for cls tokens."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3


def square_grid(rows: int) -> tuple[int, int] | None:
    """The square grid whose bias table has so many rows; None if there is none."""
    side = 1
    while num_relative_positions((side, side)) < rows:
        side += 1
    return (side, side) if num_relative_positions((side, side)) == rows else None
