"""Mixing pairs of images and their labels: mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899).

Each image is mixed with its mirror in the batch (the first with the last), all with one share, as timm's "batch" mode
does it. What is drawn comes from Python's generator, which is seeded with the device's: it follows from (seed, step,
rank), and nothing waits for the device.
"""

import math
import random
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Box = tuple[int, int, int, int]  # top, bottom, left, right


class Mix(NamedTuple):
    """`share`: of an image's own label. `box`: what comes from the other image (None: all of it, blended)."""

    share: float
    box: Box | None


class Mixing:
    """`mixup`, `cutmix`: parameters of the Beta distributions, 0 for never.

    With `probability` a batch is mixed at all; where both are possible it is CutMix with probability `switch`.
    """

    def __init__(self, *, mixup: float, cutmix: float, probability: float, switch: float) -> None:
        if min(mixup, cutmix) < 0 or max(mixup, cutmix) == 0:
            raise ValueError(
                f"mixup and cutmix must not be negative and not both 0, got {mixup} and {cutmix}; "
                "for neither set model.mixing=null"
            )
        for name, value in (("probability", probability), ("switch", switch)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        self.mixup, self.cutmix, self.probability, self.switch = mixup, cutmix, probability, switch

    def draw(self, height: int, width: int) -> Mix:
        """What happens to a batch of images of `height` x `width` pixels."""
        if random.random() >= self.probability:
            return Mix(1.0, None)
        cut = self.cutmix > 0 and (self.mixup == 0 or random.random() < self.switch)
        alpha = self.cutmix if cut else self.mixup
        share = random.betavariate(alpha, alpha)
        if not cut:
            return Mix(share, None)
        box = cut_box(height, width, share, random.randrange(height), random.randrange(width))
        return Mix(1 - (box[1] - box[0]) * (box[3] - box[2]) / (height * width), box)


def cut_box(height: int, width: int, share: float, row: int, column: int) -> Box:
    """A box around (`row`, `column`) of 1 - `share` of the area, cut off at the border."""
    side = math.sqrt(1 - share)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    return (
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )


def mixed(images: Float[Tensor, "b c h w"], mix: Mix) -> Float[Tensor, "b c h w"]:
    """The images of a batch, each mixed with its mirror in the batch."""
    if mix.box is None:
        return images if mix.share == 1 else torch.lerp(images.flip(0), images, mix.share)
    top, bottom, left, right = mix.box
    result = images.clone()
    result[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    return result


def soft_targets(
    labels: Int64[Tensor, "b"], num_classes: int, smoothing: float, share: float
) -> Float[Tensor, "b classes"]:
    """`share` of the own label and the rest of the mirror's, each one-hot * (1 - smoothing) + smoothing / classes."""
    off = smoothing / num_classes
    own = torch.full((len(labels), num_classes), off, device=labels.device)
    own.scatter_(1, labels[:, None], 1 - smoothing + off)
    return own if share == 1 else torch.lerp(own.flip(0), own, share)
