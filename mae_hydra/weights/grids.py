"""For which grid of patches, (rows, columns), the tables of a file were made: known, or only likely."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mae_hydra.relative_positions import num_relative_positions
from mae_hydra.weights.layouts.native import num_cls_tokens
from mae_hydra.weights.metadata import encoder_settings

Grid = tuple[int, int]

POSITIONS, DECODER_POSITIONS = "encoder.pos_embed", "decoder.pos_embed"
RELATIVE_TABLE = "encoder.blocks.0.attn.relative_position_bias_table"


def known_grid(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Grid | None:
    """The grid that a model's tables were made for, under our names; None where it can only be guessed.

    What the file says of itself comes first; then the tables: fixed sine-cosine positions repeat their column half in
    every row (a decoder's are always fixed), and a relative table has as many rows as a square grid of its positions.
    """
    positions = tensors.get(POSITIONS)
    if positions is None or positions.ndim != 3:
        return None
    first = num_cls_tokens(tensors)  # patch
    count = positions.shape[1] - first
    recorded = _told_grid(meta)
    if recorded is not None and recorded[0] * recorded[1] == count:
        return recorded
    for name in (POSITIONS, DECODER_POSITIONS):
        table = tensors.get(name)
        grid = _repeating_grid(table[0, first:]) if table is not None and table.ndim == 3 else None
        if grid is not None and grid[0] * grid[1] == count:
            return grid
    side = square_side(count)
    biases = tensors.get(RELATIVE_TABLE)
    return (side, side) if side and biases is not None and len(biases) == num_relative_positions((side, side)) else None


def likely_grid(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Grid | None:
    """`known_grid`, else a square, unless the number of patches or a relative table rules it out."""
    grid = known_grid(tensors, meta)
    positions = tensors.get(POSITIONS)
    if grid is not None or positions is None or positions.ndim != 3 or RELATIVE_TABLE in tensors:
        return grid
    side = square_side(positions.shape[1] - num_cls_tokens(tensors))
    return (side, side) if side else None


def square_side(count: int) -> int | None:
    """The side of a square of `count` patches; None where there is none."""
    side = math.isqrt(count)
    return side if side * side == count > 0 else None


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
    columns, others = rows.tensor_split(2, dim=1)
    alike_in_columns, alike_in_rows = (bool((half == half[:1]).all()) for half in (columns, others))
    if len(rows) < 2 or (alike_in_columns and alike_in_rows):
        return None  # a table of one value: some programs lose the positions
    if alike_in_columns or alike_in_rows:  # one column, or one row
        return (len(rows), 1) if alike_in_columns else (1, len(rows))
    for width in range(2, len(rows) // 2 + 1):
        if len(rows) % width == 0 and torch.equal(columns[width:], columns[:-width]):
            return len(rows) // width, width
    return None
