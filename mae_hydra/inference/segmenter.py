"""Class maps and scores of pictures of any size; how their windows lie is for each kind of inference to say.

Shape letters: C classes (channels, where an image is meant), H W pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mae_hydra.inference.segmentation_model import checked_shortcuts, logits_of
from mae_hydra.inference.strips import Picture, run
from mae_hydra.inference.windows import Size


class SegmentationInference(ABC):
    """How pictures of any size become class maps of the same size.

    `shortcuts`: what is spared in a UPerNet (see `Shortcuts`); any choice gives the same answers.
    `gives_probabilities`: whether the scores are probabilities; else they are logits.
    """

    gives_probabilities = False

    def __init__(self, shortcuts: Sequence[str]) -> None:
        self.shortcuts = checked_shortcuts(shortcuts)

    @abstractmethod
    def check(self, model: Any, size: Size) -> None:
        """Raise a UserError where a picture of `size` (height, width) could not go through `model`."""

    @abstractmethod
    def picture(self, model: Any, image: Tensor) -> Picture:
        """The looks at `image`, uint8 (C, H, W), of which its scores are made."""

    @abstractmethod
    def window_batch(self, num_images: int) -> int:
        """How many windows go through the model at once, where a call has `num_images`."""

    @torch.no_grad()
    def scores(self, model: Any, image: Tensor) -> Tensor:
        """float32 (C, H, W) at the size of `image`, uint8 (C, H, W); the largest score is the class.

        Of a large picture that is a lot (see `strips`); `predict` holds no more than a strip of it.
        """
        return torch.cat([rows for _, rows in self.strips(model, [image])], dim=1)

    @torch.no_grad()
    def predict(self, model: Any, images: list[Tensor]) -> list[Tensor]:
        """Class maps uint8 (H, W), on the model's device, of images uint8 (C, H, W) of any sizes."""
        maps: list[list[Tensor]] = [[] for _ in images]
        for number, rows in self.strips(model, images):
            maps[number].append(label_map(rows))
        return [torch.cat(strips) for strips in maps]

    def strips(self, model: Any, images: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """(number of the image, the next rows of its scores (C, r, W)): what bounds the memory of a large picture."""
        pictures = (self.picture(model, image) for image in images)
        return run(logits_of(model, self.shortcuts), pictures, self.window_batch(len(images)))


def label_map(scores: Tensor) -> Tensor:
    """(C, H, W) -> uint8 (H, W); of equal scores the lowest class wins."""
    if len(scores) > 256:
        raise ValueError(f"class maps are uint8, which holds 256 classes; the model has {len(scores)}")
    return scores.argmax(0).to(torch.uint8)
