"""Tables that belong to a grid of patches, brought to another grid."""

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mae_hydra.weights.grids import Grid


def resize_positions(
    table: Float[Tensor, "1 n d"], source: Grid, target: Grid, num_cls_tokens: int = 1
) -> Float[Tensor, "1 m d"]:
    """Position embeddings, cls rows first, which stay as they are; bicubic, corners not aligned, no antialiasing."""
    patches = _resize_rows(table[0, num_cls_tokens:], source, target)
    return torch.cat([table[:, :num_cls_tokens], patches[None]], dim=1)


def resize_relative_table(table: Float[Tensor, "n heads"], source: Grid, target: Grid) -> Float[Tensor, "m heads"]:
    """Relative position biases: (2h-1)(2w-1) offsets, resized as BEiT does, then the three rows of cls, which stay.

    An offset of one patch stays one patch however many there are: the source's offsets 0, 1, 2, … are laid at the
    partial sums of a geometric progression that reaches to the target's outermost, and the target's are read between
    them, linearly (timm's function; mmsegmentation reads a cubic spline at the same places).
    """
    from timm.layers import resize_rel_pos_bias_table  # a second to import, and seldom needed

    by_head = table[:-3].T.unflatten(1, _offsets(source))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of timm's way to index, which torch advises against
        resized = resize_rel_pos_bias_table(by_head, target, (table.shape[1], *_offsets(target)))
    return torch.cat([resized.flatten(1).T, table[-3:]])


def _resize_rows(rows: Float[Tensor, "n d"], source: Grid, target: Grid) -> Float[Tensor, "m d"]:
    field = rows.double().T.unflatten(1, source)[None]
    resized = F.interpolate(field, size=target, mode="bicubic", align_corners=False, antialias=False)
    return resized[0].flatten(1).T.to(rows.dtype)


def _offsets(grid: Grid) -> Grid:
    return 2 * grid[0] - 1, 2 * grid[1] - 1
