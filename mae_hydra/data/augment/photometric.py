"""Photometric distortion of UPerNet's recipe, on RGB uint8 images, in mmsegmentation's order and ranges.

OpenCV's bytes, which mmsegmentation computes with, are up to a level or a step of hue away from ours.

Shape letters: B batch, H W pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from numpy.random import Generator
from torch import Tensor

_STRIP = 2**16
"""Pixels handled at a time; their intermediate planes stay in the cache, which halves the time for 512 x 512 pixels."""

Number = float | Tensor


class Distortion(NamedTuple):
    """What is done to an image, in this order; None where it is left out. Contrast comes once, early or late."""

    brightness: float | None
    early_contrast: float | None
    saturation: float | None
    hue: int | None
    late_contrast: float | None


def draw_distortion(rng: Generator) -> Distortion:
    """Brightness, contrast, saturation, hue, each with probability 1/2.

    Brightness adds U(-32, 32); contrast and saturation scale by U(0.5, 1.5); hue turns by -18..17 steps of two degrees.
    Contrast comes either before saturation and hue, or after them.
    """
    brightness = rng.uniform(-32, 32) if coin(rng) else None
    early = coin(rng)
    early_contrast = rng.uniform(0.5, 1.5) if early and coin(rng) else None
    saturation = rng.uniform(0.5, 1.5) if coin(rng) else None
    hue = int(rng.integers(-18, 18)) if coin(rng) else None
    late_contrast = rng.uniform(0.5, 1.5) if not early and coin(rng) else None
    return Distortion(brightness, early_contrast, saturation, hue, late_contrast)


def distort(image: Tensor, distortion: Distortion) -> Tensor:
    """uint8 (3, H, W), back to uint8 after each change. Of other pictures brightness and contrast alone change, which
    mean the same for any bands: in levels of 256 of their range."""
    if not is_photograph(image):
        return _distort_bands(image, distortion)
    strips = []
    for strip in image.split(max(_STRIP // image.shape[2], 1), dim=1):
        for number, amount in enumerate(distortion):
            if amount is not None:
                strip = _change(number, strip, amount)
        strips.append(strip)
    return torch.cat(strips, dim=1)


def is_photograph(image: Tensor) -> bool:
    """Whether it is RGB of 8 bits."""
    return image.dtype == torch.uint8 and len(image) == 3


def _distort_bands(image: Tensor, distortion: Distortion) -> Tensor:
    level = 257 if image.dtype == torch.uint16 else 1
    values = image.float()
    for name, amount in distortion._asdict().items():
        if amount is not None and name == "brightness":
            values = values.add_(amount * level).clamp_(0, 255 * level)
        elif amount is not None and name.endswith("contrast"):
            values = values.mul_(amount).clamp_(0, 255 * level)
    return values.to(image.dtype)


def distort_batch(images: Tensor, distortions: Sequence[Distortion]) -> Tensor:
    """`distort` of each of uint8 (B, 3, H, W), all at once, on the images' device; it does not wait for the device."""
    nothing = float("nan")
    rows = [[nothing if amount is None else amount for amount in distortion] for distortion in distortions]
    amounts = torch.tensor(rows, dtype=torch.float32).to(images.device, non_blocking=True)
    for number, amount in enumerate(amounts[:, :, None, None, None].unbind(1)):
        images = torch.where(amount.isnan(), images, _change(number, images, amount.nan_to_num()))
    return images


def _change(number: int, image: Tensor, amount: Number) -> Tensor:
    """The change at place `number` of a `Distortion`; `amount`: a number, or one for each image (B, 1, 1, 1)."""
    match Distortion._fields[number]:
        case "brightness":
            return scale(image, 1.0, amount)
        case "saturation":
            hue, saturation, value = rgb_to_hsv(image)
            return hsv_to_rgb(hue, scale(saturation, _plane(amount), 0.0), value)
        case "hue":
            hue, saturation, value = rgb_to_hsv(image)
            return hsv_to_rgb(turn(hue, _plane(amount)), saturation, value)
        case _:
            return scale(image, amount, 0.0)


def _plane(amount: Number) -> Number:
    return amount[..., 0] if isinstance(amount, Tensor) else amount


def coin(rng: Generator) -> bool:
    return rng.random() < 0.5


def scale(values: Tensor, factor: Number, offset: Number) -> Tensor:
    """uint8 values * factor + offset, clipped to 0..255 and cut (not rounded) to uint8, as OpenCV pipelines do."""
    return values.float().mul_(factor).add_(offset).clamp_(0, 255).to(torch.uint8)


def turn(hue: Tensor, steps: Number) -> Tensor:
    """Turn the hue by `steps` of two degrees."""
    steps = steps.to(torch.int16) if isinstance(steps, Tensor) else int(steps)
    return ((hue.to(torch.int16) + steps) % 180).to(torch.uint8)


def rgb_to_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB uint8 (..., 3, H, W) as uint8 (..., H, W) each of hue 0..179 (two degrees), saturation and value 0..255.

    In OpenCV's units, each rounded to the nearest; OpenCV's tables in fixed point are one step away for some colours.
    """
    red, green, blue = image.float().unbind(-3)
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
    """The inverse of `rgb_to_hsv`: three uint8 (..., H, W) to RGB uint8 (..., 3, H, W), rounded to the nearest.

    OpenCV's is up to one level away, for most colours.
    Each channel is value - value * saturation * w, with w the hue's distance from that channel's plateau, cut to 0..1.
    """
    sixths = hue.unsqueeze(-3).float() / 30
    position = (torch.arange(5, 0, -2, device=hue.device)[:, None, None] + sixths) % 6
    weight = torch.minimum(position, 4 - position).clamp_(0, 1)
    top = value.unsqueeze(-3).float()
    return (top - weight.mul_(top * (saturation.unsqueeze(-3).float() / 255))).round_().to(torch.uint8)
