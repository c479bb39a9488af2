"""RandAugment (arXiv 1909.13719) with timm's operations, drawn from a generator that is given."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor

from mae_hydra.errors import UserError

SHARE_OF_A_TRANSLATION = 0.45  # of the shorter side, at most (timm)


class RandAugment:
    """`policy`: in timm's words. `size`: (height, width) of the images; `fill`: what comes in from outside them."""

    def __init__(self, policy: str, size: tuple[int, int], fill: Sequence[float]) -> None:
        # Here, not above: timm's data package is large, and nothing else needs it.
        from timm.data.auto_augment import rand_augment_transform

        if len(fill) != 3:
            raise ValueError(f"augment.randaugment needs RGB images, but augment.fill has {len(fill)} channels")
        settings: dict[str, Any] = {
            "translate_const": int(min(size) * SHARE_OF_A_TRANSLATION),
            "img_mean": tuple(min(255, round(255 * value)) for value in fill),
            "interpolation": Image.Resampling.BICUBIC,
        }
        try:
            self._transform = rand_augment_transform(policy, settings)
        except (AssertionError, ValueError, KeyError) as error:
            raise ValueError(
                f"augment.randaugment must be a policy such as rand-m9-mstd0.5-inc1, or null, got {policy!r}"
            ) from error

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """uint8 (3, H, W) to the same."""
        if image.dtype != torch.uint8:
            raise UserError("RandAugment changes RGB of 8 bits; use augment.randaugment=null, or data.bits=8")
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        with _global_generators_seeded(rng):
            picture = self._transform(picture)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


@contextmanager
def _global_generators_seeded(rng: Generator) -> Iterator[None]:
    """timm draws from the generators of Python and NumPy that everybody shares; they are put back as they were."""
    kept = random.getstate(), np.random.get_state()
    random.seed(int(rng.integers(2**63)))
    np.random.seed(int(rng.integers(2**32)))
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
