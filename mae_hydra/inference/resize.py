"""Resizing at test time: the size that keeps the aspect ratio, images on uint8, scores on float32.

All bilinear, align_corners=False and without antialiasing, as the published ADE20K numbers were computed; images in the
fixed-point arithmetic of OpenCV.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mae_hydra.inference.resize_rows import lerped, source_rows
from mae_hydra.inference.windows import Size, as_size

Sides = tuple[int, int, int, int]
"""Top, bottom, left and right; bottom and right are the first outside."""


def size_of(image: Tensor) -> Size:
    """(height, width) of an image or of scores (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def resized_size(size: Size, short: int, long_ratio: float | None) -> Size:
    """(height, width): the ratio of `size` kept, short side `short`, long side at most int(`long_ratio` * `short`).

    mmcv's rule: factor = min(long / longer side, short / shorter side), each side int(side * factor + 0.5).
    `long_ratio` None: no cap.
    """
    factor = short / min(size)
    if long_ratio is not None:
        factor = min(int(long_ratio * short) / max(size), factor)
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def resize_image(image: Tensor, size: Size) -> Tensor:
    """uint8 (C, H, W) -> uint8 (C, *size), bit for bit as OpenCV's INTER_LINEAR.

    The networks behind the published numbers were shown such pixels. OpenCV computes them in fixed point: weights in
    2048ths, first along the rows, then along the columns with the last four bits of each product dropped. Halving both
    sides exactly is a mean of four pixels there. uint16 is resized in floating point and rounded.
    """

    def read(top: int, bottom: int, left: int, right: int) -> Tensor:
        return image[:, top:bottom, left:right]

    return resized_part(read, size_of(image), size, (0, size[0], 0, size[1]))


def resized_part(read: Callable[[int, int, int, int], Tensor], source: Size, size: Size, part: Sides) -> Tensor:
    """Rows and columns `part` of what `resize_image` makes of an image of size `source`: (C, rows, columns).

    `read(top, bottom, left, right)` gives pixels of the image, and is asked for what the part needs alone.
    """
    top, bottom, left, right = part
    if source == size:
        return read(*part)
    if source == (2 * size[0], 2 * size[1]):
        values = read(*(2 * side for side in part))
        if values.dtype != torch.uint16:
            squares = values.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).sum((2, 4), dtype=torch.int32)
            return ((squares + 2) >> 2).to(values.dtype)
    rows, columns = source_rows(source[0], size[0], top, bottom), source_rows(source[1], size[1], left, right)
    values = read(*rows, *columns)
    if values.dtype == torch.uint16:
        found = lerped(values.float(), rows[0], source[0], size[0], top, bottom, dim=1)
        found = lerped(found, columns[0], source[1], size[1], left, right, dim=2)
        return found.round_().clamp_(0, 65535).to(torch.uint16)
    first, second, near, far = (each[left:right] for each in _taps(source[1], size[1], values.device, False))
    across = values[:, :, first - columns[0]].to(torch.int32) * near + values[:, :, second - columns[0]] * far
    above, below, near, far = (each[top:bottom] for each in _taps(source[0], size[0], values.device, True))
    chosen = ((above - rows[0], near), (below - rows[0], far))
    high, low = ((across[:, each] >> 4) * weight[:, None] >> 16 for each, weight in chosen)
    return ((high + low + 2) >> 2).to(values.dtype)


@lru_cache(maxsize=64)
def _taps(source: int, target: int, device: torch.device, beyond_border: bool) -> tuple[Tensor, ...]:
    """First and second pixel (int64) and their weights (int32, in 2048ths) of every target position along one axis.

    Beyond the border both pixels are the last one; then OpenCV gives the first all the weight along rows, but shares it
    out along columns (`beyond_border`), which rounds otherwise.
    """
    place = ((torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5).float()
    first = place.floor()
    share = place - first
    if not beyond_border:
        share = torch.where((first < 0) | (first >= source - 1), 0.0, share)
    near, far = ((weight * 2048).round().to(torch.int32) for weight in (1 - share, share))
    pixels = (first.long().clamp(0, source - 1), (first.long() + 1).clamp(0, source - 1))
    return tuple(tensor.to(device) for tensor in (*pixels, near, far))


def resize_scores(scores: Tensor, size: Size) -> Tensor:
    """float (C, H, W) -> float (C, *size)."""
    if size_of(scores) == size:
        return scores
    return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]


def short_side(short: int | Sequence[int] | None) -> int | None:
    """The `short` of a configuration in pixels; of [height, width] the smaller; None: no resizing."""
    return None if short is None else min(as_size("short", short))


def checked_long_ratio(long_ratio: float | None) -> float | None:
    """The `long_ratio` of a configuration; None: no cap on the long side."""
    if long_ratio is not None and long_ratio < 1:
        raise ValueError(f"long_ratio must be at least 1 or null (no cap on the long side), got {long_ratio}")
    return long_ratio
