"""Photometric distortion of UPerNet's recipe, on RGB uint8 images: mmsegmentation's order and ranges.

Shape letters: H W pixels.
"""

from collections.abc import Callable
from functools import partial

import torch
from numpy.random import Generator
from torch import Tensor

_STRIP = 2**16
"""Pixels handled at a time; their intermediate planes stay in the cache, which halves the time for 512 x 512 pixels."""


def photometric_distortion(image: Tensor, rng: Generator) -> Tensor:
    """Brightness, contrast, saturation, hue, each with probability 1/2, on uint8 (3, H, W); back to uint8 after each.

    Brightness adds U(-32, 32); contrast and saturation scale by U(0.5, 1.5); hue turns by -18..17 steps of two degrees.
    Contrast comes either before saturation and hue, or after them.
    """
    changes = _draw_changes(rng)
    strips = []
    for strip in image.split(max(_STRIP // image.shape[2], 1), dim=1):
        for change in changes:
            strip = change(strip)
        strips.append(strip)
    return torch.cat(strips, dim=1)


def _draw_changes(rng: Generator) -> list[Callable[[Tensor], Tensor]]:
    changes: list[Callable[[Tensor], Tensor]] = []
    if coin(rng):
        changes.append(partial(scale, factor=1.0, offset=rng.uniform(-32, 32)))
    contrast_first = coin(rng)
    if contrast_first and coin(rng):
        changes.append(partial(scale, factor=rng.uniform(0.5, 1.5), offset=0.0))
    if coin(rng):
        changes.append(partial(scale_saturation, factor=rng.uniform(0.5, 1.5)))
    if coin(rng):
        changes.append(partial(turn_hue, steps=int(rng.integers(-18, 18))))
    if not contrast_first and coin(rng):
        changes.append(partial(scale, factor=rng.uniform(0.5, 1.5), offset=0.0))
    return changes


def coin(rng: Generator) -> bool:
    return rng.random() < 0.5


def scale(values: Tensor, factor: float, offset: float) -> Tensor:
    """uint8 values * factor + offset, clipped to 0..255 and cut (not rounded) to uint8, as OpenCV pipelines do."""
    return values.float().mul_(factor).add_(offset).clamp_(0, 255).to(torch.uint8)


def scale_saturation(image: Tensor, factor: float) -> Tensor:
    hue, saturation, value = rgb_to_hsv(image)
    return hsv_to_rgb(hue, scale(saturation, factor, 0.0), value)


def turn_hue(image: Tensor, steps: int) -> Tensor:
    """Turn the hue by `steps` of two degrees."""
    hue, saturation, value = rgb_to_hsv(image)
    return hsv_to_rgb(((hue.to(torch.int16) + steps) % 180).to(torch.uint8), saturation, value)


def rgb_to_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB uint8 (3, H, W) as uint8 (H, W) each of hue 0..179 (two degrees), saturation and value 0..255: OpenCV's."""
    red, green, blue = image.float()
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = (spread / value.clamp(min=1)).mul_(255).round_()
    unit = 30 / spread.clamp(min=1)  # grey has no spread and gets hue 0
    hue = torch.where(
        value == red,
        (green - blue).mul_(unit),
        torch.where(value == green, (blue - red).mul_(unit).add_(60), (red - green).mul_(unit).add_(120)),
    ).round_()
    hue = torch.where(hue < 0, hue + 180, hue)
    return hue.to(torch.uint8), saturation.to(torch.uint8), value.to(torch.uint8)


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of `rgb_to_hsv`: three uint8 (H, W) to RGB uint8 (3, H, W), rounded.

    Each channel is value - value * saturation * w, with w the hue's distance from that channel's plateau, cut to 0..1.
    """
    sixths = hue.float() / 30
    position = (torch.tensor([5.0, 3.0, 1.0])[:, None, None] + sixths) % 6
    weight = torch.minimum(position, 4 - position).clamp_(0, 1)
    top = value.float()
    return (top - weight.mul_(top * (saturation.float() / 255))).round_().to(torch.uint8)
