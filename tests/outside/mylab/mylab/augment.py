"""An augmentation of images and class maps together."""

import torch
from numpy.random import Generator
from torch import Tensor

from mae_hydra.data import Sample


class FlipsAndLight:
    """Flips along both axes, and another brightness: an `Augment` of mae_hydra.data.

    All chance comes from `rng`, so that a sample is a function of (seed, epoch, index) and a run can be resumed.
    """

    def __init__(self, *, flip: float, light: float) -> None:
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must lie in [0, 1], got {flip}")
        self.flip, self.light = flip, light

    def __call__(self, sample: Sample, rng: Generator) -> tuple[Tensor, Tensor | int | None]:
        """Image uint8 (C, H, W) of data.image_size, and its label."""
        image, label = sample.image, sample.label
        for axis in (-2, -1):
            if rng.random() < self.flip:
                image, label = image.flip(axis), label.flip(axis)
        factor = 1 + rng.uniform(-self.light, self.light)
        return (image * factor).clamp(0, 255).to(torch.uint8), label
