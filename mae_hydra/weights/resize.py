"""Tables that belong to a grid of patches, brought to another grid."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Grid = tuple[int, int]


def resize_positions(table: Float[Tensor, "1 n d"], source: Grid, target: Grid) -> Float[Tensor, "1 m d"]:
    """Position embeddings, cls row first, which stays as it is; bicubic, corners not aligned, no antialiasing."""
    return torch.cat([table[:, :1], _resize_rows(table[0, 1:], source, target)[None]], dim=1)


def resize_relative_table(table: Float[Tensor, "n heads"], source: Grid, target: Grid) -> Float[Tensor, "m heads"]:
    """Relative position biases: (2h-1)(2w-1) offsets, bicubic as above, then the three rows of cls, which stay."""
    return torch.cat([_resize_rows(table[:-3], _offsets(source), _offsets(target)), table[-3:]])


def grid_of_positions(table: Float[Tensor, "1 n d"], meta: Mapping[str, Any]) -> Grid | None:
    """The grid that a table of positions was made for; None if it cannot be told.

    What the file says of itself comes first; then the table: fixed sine-cosine positions repeat their column half in
    every row. What is left is taken for a square.
    """
    count = table.shape[1] - 1
    for grid in (_told_grid(meta), _repeating_grid(table[0, 1:])):
        if grid is not None and grid[0] * grid[1] == count:
            return grid
    side = math.isqrt(count)
    return (side, side) if side * side == count else None


def encoder_settings(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The encoder's arguments in the configuration that a checkpoint of ours carries, or as others tell them."""
    node: Any = meta
    for key in ("config", "model", "encoder"):
        node = node.get(key) if isinstance(node, Mapping) else None
    node = meta.get("encoder") if node is None else node
    return node if isinstance(node, Mapping) else {}


def _told_grid(meta: Mapping[str, Any]) -> Grid | None:
    settings = encoder_settings(meta)
    size, patch = settings.get("image_size"), settings.get("patch_size")
    sides = [size, size] if isinstance(size, int) else size
    if not isinstance(sides, list | tuple) or len(sides) != 2 or not isinstance(patch, int) or patch < 1:
        return None
    if not all(isinstance(side, int) for side in sides):
        return None
    return sides[0] // patch, sides[1] // patch


def _repeating_grid(rows: Float[Tensor, "n d"]) -> Grid | None:
    """The shortest period of the first half of the width, if it is a divisor of the whole."""
    column_half = rows[:, : rows.shape[1] // 2]
    if len(rows) < 2 or torch.equal(column_half[0], column_half[1]):
        return None  # a table of one value: some programs lose the positions
    for width in range(2, len(rows) // 2 + 1):
        if len(rows) % width == 0 and torch.equal(column_half[width:], column_half[:-width]):
            return len(rows) // width, width
    return None


def _resize_rows(rows: Float[Tensor, "n d"], source: Grid, target: Grid) -> Float[Tensor, "m d"]:
    field = rows.double().T.unflatten(1, source)[None]
    resized = F.interpolate(field, size=target, mode="bicubic", align_corners=False, antialias=False)
    return resized[0].flatten(1).T.to(rows.dtype)


def _offsets(grid: Grid) -> Grid:
    return 2 * grid[0] - 1, 2 * grid[1] - 1
