"""`resize_scores` row by row: any rows of the result from the few rows of the source that they lie between.

The same interpolation (bilinear, corners not aligned, weights in the arithmetic of torch's interpolate), first along
the columns, then along the rows, so that a strip of the result needs no other strip.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mae_hydra.inference.windows import Size


def num_ready(source: int, target: int, known: int) -> int:
    """Count the first of `target` rows that lie between the first `known` of `source` rows."""
    below = _taps(source, target)[1]
    return int(torch.searchsorted(below, known))


def source_rows(source: int, target: int, start: int, stop: int) -> tuple[int, int]:
    """Find the range of `source` rows that rows `start`..`stop` of `target` are read from."""
    above, below, _ = _taps(source, target)
    return int(above[start]), int(below[stop - 1]) + 1


def resized_rows(known: Tensor, first: int, source: int, size: Size, start: int, stop: int) -> Tensor:
    """Rows `start`..`stop` of scores of `source` rows resized to `size`: (C, stop - start, width of `size`).

    `known` (C, r, w): rows from `first` on, as far as `source_rows` asks.
    """
    rows = lerped(known, first, source, size[0], start, stop, dim=1)
    if rows.shape[2] == size[1]:
        return rows
    return interpolate(rows, size=size[1], mode="linear", align_corners=False)


def lerped(known: Tensor, first: int, source: int, target: int, start: int, stop: int, *, dim: int) -> Tensor:
    """Positions `start`..`stop` of `target` positions along `dim`, between those of `source` from `first` on."""
    if source == target:
        return known.narrow(dim, start - first, stop - start)
    above, below, share = (each[start:stop].to(known.device) for each in _taps(source, target, known.dtype))
    near, far = (known.index_select(dim, each - first) for each in (above, below))
    return torch.lerp(near, far, share.unflatten(0, (-1, *[1] * (known.dim() - 1 - dim))))


@lru_cache(maxsize=64)
def _taps(source: int, target: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Give for every target row the source row above, the one below, and the share of the latter."""
    scale = torch.tensor(source, dtype=dtype) / target
    # In float64 and then rounded once, as the fused multiply-add of torch's kernels does.
    place = (scale.double() * (torch.arange(target) + 0.5).double() - 0.5).to(dtype).clamp(min=0)
    above = place.long().clamp(max=source - 1)
    return above, (above + 1).clamp(max=source - 1), place - above
