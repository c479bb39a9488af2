"""3x3 convolution of a resized map without ever making that map: the same numbers for less work, borders included.

Resizing acts on each channel alone and the products of a convolution on each position alone, so the two commute:
with W_ab the (out, in) matrix of tap (a, b), R_a the rows and C_b the columns of "resize, then shift by one tap, zeros
from outside" (the convolution's padding),

    conv(resize(x); W) = sum over a, b of  R_a (W_ab x) C_b^T

and W_ab x costs what the small map costs. Both resizings are small dense matrices, so that no full-size map is made per
tap. It serves gradients as well as results.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Resizing(NamedTuple):
    """From (h, w) to (H, W) for a 3x3 convolution; made by `resizing`."""

    rows: Float[Tensor, "H _"]
    columns: Float[Tensor, "W _"]


def resize_matrix(source: int, target: int, *, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "t s"]:
    """Row i holds the shares of the `source` positions in position i of `target`: bilinear, corners not aligned."""
    # On the device, so that a training step does not wait for a copy; but not every device has float64.
    where = device if device.type in ("cpu", "cuda") else torch.device("cpu")
    old, new = (torch.arange(count, dtype=torch.float64, device=where) for count in (source, target))
    centres = (new + 0.5) * (source / target) - 0.5
    distance = (centres.clamp(0, source - 1)[:, None] - old).abs()
    return (1 - distance).clamp(min=0).to(device, dtype)


def resizing(source: tuple[int, int], target: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Resizing:
    """The matrices with which `add_resized_convolution` goes from `source` to `target`, both (height, width)."""
    rows, columns = (
        _three_taps(resize_matrix(old, new, dtype=dtype, device=device))
        for old, new in zip(source, target, strict=True)
    )
    return Resizing(rows.flatten(1), columns.transpose(1, 2).flatten(1))


def tap_weights(weight: Float[Tensor, "o c 3 3"]) -> Float[Tensor, "3 _ c"]:
    """The matrices of a 3x3 kernel in the order in which `add_resized_convolution` reads them."""
    return weight.permute(2, 3, 0, 1).flatten(1, 2).contiguous()


def add_resized_convolution(
    total: Float[Tensor, "b H W o"],
    maps: Float[Tensor, "b h w c"],
    taps: Float[Tensor, "3 _ c"],
    resizing: Resizing,
) -> Float[Tensor, "b H W o"]:
    """`total` + convolution, padded by one, of `maps` resized to the size of `total`; channels last."""
    batch, height, width, _ = maps.shape
    out_height, out_width, out_dim = total.shape[1:]
    pieces = []
    for row_taps in taps:
        products = F.linear(maps, row_taps).view(batch * height, width * 3, out_dim)
        pieces.append(torch.matmul(resizing.columns, products).view(batch, height, out_width * out_dim))
    wide = torch.stack(pieces, 1).flatten(1, 2)
    summed = torch.baddbmm(
        total.reshape(batch, out_height, -1).to(wide.dtype), resizing.rows.expand(batch, -1, -1), wide
    )
    return summed.view(batch, out_height, out_width, out_dim)


def convolve_resized(
    weight: Float[Tensor, "o _ 3 3"], maps: list[Float[Tensor, "b _ _ _"]]
) -> Float[Tensor, "b o H W"]:
    """3x3 convolution, padded by one, of `maps` resized to the first one's size and concatenated.

    No map is enlarged, neither in this pass nor for the backward one. The matrices are made anew at every call: kept
    ones would have to fit each device, precision, tracing and inference mode.
    """
    first, *rest = weight.split([level.shape[1] for level in maps], 1)
    total = F.conv2d(maps[0], first, padding=1).permute(0, 2, 3, 1)
    target = (total.shape[1], total.shape[2])
    for level, part in zip(maps[1:], rest, strict=True):
        source = (level.shape[2], level.shape[3])
        matrices = resizing(source, target, dtype=total.dtype, device=total.device)
        total = add_resized_convolution(total, level.permute(0, 2, 3, 1), tap_weights(part), matrices)
    return total.permute(0, 3, 1, 2)


def _three_taps(matrix: Float[Tensor, "t s"]) -> Float[Tensor, "t 3 s"]:
    """Tap k of row i is row i + k - 1, and zero beyond the border."""
    padded = F.pad(matrix, (0, 0, 1, 1))
    return torch.stack([padded[tap : tap + len(matrix)] for tap in range(3)], 1)
