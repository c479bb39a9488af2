"""Which part of an image is taken: boxes and sizes, drawn from a given generator or computed.

A box is (top, left, height, width) in pixels. Shape letters: H W pixels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

Box = tuple[int, int, int, int]


def random_resized_box(
    height: int,
    width: int,
    scale: Sequence[float],
    ratio: Sequence[float],
    rng: Generator,
    *,
    clamp: bool = False,
    aspect: float = 1.0,
) -> Box:
    """A box of random area share (uniform in `scale`) and random shape.

    Its width / height is `aspect`, that of what it will be resized to, times a factor log-uniform in `ratio`: the
    factor by which it is stretched. Ten tries, as torchvision's RandomResizedCrop for square targets. Then an image
    whose own shape is within the range is taken whole, as there. Of a longer one torchvision takes the same centred
    part for ever; here it is the largest box of the last shape that was drawn, at a random place. With `clamp` the
    first draw counts, and what is longer than the image is cut to it (MAE's linear probe).
    """
    shape = aspect
    for _ in range(10):
        area = height * width * rng.uniform(scale[0], scale[1])
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]))) * aspect
        box_width, box_height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if clamp:
            box_width, box_height = min(max(box_width, 1), width), min(max(box_height, 1), height)
        if 0 < box_width <= width and 0 < box_height <= height:
            top, left = rng.integers(0, height - box_height + 1), rng.integers(0, width - box_width + 1)
            return int(top), int(left), box_height, box_width
    if ratio[0] <= width / height / aspect <= ratio[1]:
        return 0, 0, height, width
    longest = min(max(round(height * shape), 1), width), min(max(round(width / shape), 1), height)
    return random_box(height, width, longest[::-1], rng)


def never_fits(height: int, width: int, scale: Sequence[float], ratio: Sequence[float], *, aspect: float = 1.0) -> bool:
    """Whether no box of `random_resized_box` fits into an image, so that all are smaller than `scale` says."""
    shape = min(max(width / height, ratio[0] * aspect), ratio[1] * aspect)  # of those that are drawn, the image's best
    largest = min(width, height * shape) * min(height, width / shape)
    return largest < scale[0] * height * width


def most_stretched(
    height: int, width: int, scale: Sequence[float], ratio: Sequence[float], *, aspect: float = 1.0
) -> float:
    """How much longer in one direction than in the other a clamped box of `random_resized_box` is at most shown."""
    boxes = [
        (min(math.sqrt(share * height * width * shape), width), min(math.sqrt(share * height * width / shape), height))
        for share in scale
        for shape in (ratio[0] * aspect, ratio[1] * aspect)
    ]
    factors = [box_width / box_height / aspect for box_width, box_height in boxes]
    return max(max(factor, 1 / factor) for factor in factors)


def random_box(height: int, width: int, size: tuple[int, int], rng: Generator) -> Box:
    """A box of at most `size` at a uniformly drawn place."""
    box_height, box_width = min(size[0], height), min(size[1], width)
    top, left = rng.integers(0, height - box_height + 1), rng.integers(0, width - box_width + 1)
    return int(top), int(left), box_height, box_width


def fitted_size(height: int, width: int, long_side: int, short_side: int) -> tuple[int, int]:
    """The largest (H, W) of the same shape whose sides stay within `long_side` and `short_side`."""
    factor = min(long_side / max(height, width), short_side / min(height, width))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def cut(image: Tensor, box: Box) -> Tensor:
    """The part of (..., H, W) inside `box`, a view."""
    top, left, height, width = box
    return image[..., top : top + height, left : left + width]


def resize_bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (C, H, W) to `size`, antialiased, on uint8 throughout; the channels of a pixel lie side by side.

    torchvision's `resize` gives the same pixels, but turns the result around. uint16 is resized as numbers and rounded.
    """
    if image.shape[-2:] == size:
        return image
    if image.dtype == torch.uint16:
        return rounded(F.interpolate(image[None].float(), list(size), mode="bicubic", antialias=True)[0])
    pixels = image[None].contiguous(memory_format=torch.channels_last)
    return F.interpolate(pixels, list(size), mode="bicubic", antialias=True)[0]


def resize_bilinear(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (C, H, W) to `size` without antialiasing (as OpenCV's INTER_LINEAR), on uint8 throughout.

    uint16 is resized as numbers and rounded.
    """
    if image.dtype == torch.uint16 and image.shape[-2:] != size:
        return rounded(F.interpolate(image[None].float(), list(size), mode="bilinear")[0])
    return transforms.resize(image, list(size), interpolation=InterpolationMode.BILINEAR, antialias=False)


def resize_nearest(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (H, W) to `size`; the source pixel is floor(position * old / new), as OpenCV's INTER_NEAREST."""
    return transforms.resize(labels[None], list(size), interpolation=InterpolationMode.NEAREST)[0]


def rounded(values: Tensor) -> Tensor:
    """Numbers as the uint16 next to them."""
    return values.round_().clamp_(0, 65535).to(torch.uint16)


def pad(image: Tensor, size: tuple[int, int], fill: Tensor) -> Tensor:
    """(..., H, W) extended at the bottom and right to `size` with `fill`, which broadcasts against (..., 1, 1)."""
    height, width = image.shape[-2:]
    if (height, width) == size:
        return image
    padded = torch.empty((*image.shape[:-2], *size), dtype=image.dtype)
    padded[...] = fill
    padded[..., :height, :width] = image
    return padded
