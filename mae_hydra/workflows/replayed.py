"""What is known of a step that was taken again."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shown:
    """An image of the step. `pixels`: uint8 (H, W, C); `labels`: class map (H, W), class id, or None.

    `visible`: bool (H, W), of a masked autoencoder what its encoder saw. `loss`: of it alone, where that is
    cheap, as a mean over `counted` elements.
    """

    process: int
    index: int | None
    name: str
    pixels: np.ndarray
    labels: np.ndarray | int | None
    visible: np.ndarray | None
    loss: float | None
    counted: float | None


@dataclass(frozen=True)
class Found:
    """One step. `means` by name ("loss", the model's extras); `grad_norm`: of the whole gradient before clipping.

    `norms` and `depths`: of every parameter by its name. `images`: the first of `num_images`.
    """

    means: dict[str, float]
    count: float
    rate: float
    grad_norm: float
    norms: dict[str, float]
    depths: dict[str, int]
    images: list[Shown]
    num_images: int
