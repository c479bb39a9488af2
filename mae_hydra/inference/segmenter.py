"""Class maps and scores of pictures of any size; how their windows lie is for each kind of inference to say.

Shape letters: K classes, C channels, H W pixels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_hydra.inference.frame import Readable
from mae_hydra.inference.resize import size_of
from mae_hydra.inference.segmentation_model import checked_shortcuts, logits_of
from mae_hydra.inference.strips import Picture, run
from mae_hydra.inference.windows import Size


class Piece(NamedTuple):
    """Scores (K, r, w) of an image, from (`top`, `left`) on."""

    number: int
    top: int
    left: int
    scores: Tensor


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
    def picture(self, model: Any, image: Tensor | Readable) -> Picture:
        """The looks at `image`, uint8 (C, H, W), of which its scores are made."""

    @abstractmethod
    def window_batch(self, num_images: int) -> int:
        """How many windows go through the model at once, where a call has `num_images`."""

    @torch.no_grad()
    def scores(self, model: Any, image: Tensor) -> Tensor:
        """float32 (K, H, W) at the size of `image`, uint8 (C, H, W); the largest score is the class.

        Of a large picture that is a lot (see `strips`); `predict` holds no more than a strip of it.
        """
        return torch.cat([rows for _, rows in self.strips(model, [image])], dim=1)

    @torch.no_grad()
    def predict(self, model: Any, images: list[Tensor]) -> list[Tensor]:
        """Class maps uint8 or uint16 (H, W), on the model's device, of images uint8 (C, H, W) of any sizes."""
        maps: dict[int, Tensor] = {}
        for number, top, left, scores in self.pieces(model, images):
            classes = label_map(scores)
            if number not in maps:
                maps[number] = classes.new_empty(size_of(images[number]))
            maps[number][top : top + len(classes), left : left + classes.shape[1]] = classes
        return [maps[number] for number in range(len(images))]

    @torch.no_grad()
    def pieces(self, model: Any, images: Sequence[Tensor | Readable]) -> Iterator[Piece]:
        """All scores of images of any sizes, a piece at a time: memory grows neither with height nor with width."""
        places: list[tuple[int, int]] = []  # number and left side of each band
        tops: list[int] = []

        def opened() -> Iterator[Picture]:
            for number, image in enumerate(images):
                for columns in self.picture(model, image).bands(getattr(model, "num_classes", 1)):
                    places.append((number, columns[0]))
                    tops.append(0)
                    yield self.picture(model, image).narrowed(columns)

        for band, scores in run(logits_of(model, self.shortcuts), opened(), self.window_batch(len(images))):
            number, left = places[band]
            yield Piece(number, tops[band], left, scores)
            tops[band] += scores.shape[1]

    def strips(self, model: Any, images: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """(number of the image, the next rows of its scores (K, r, W)), each over the whole width."""
        pictures = (self.picture(model, image) for image in images)
        return run(logits_of(model, self.shortcuts), pictures, self.window_batch(len(images)))


def label_map(scores: Tensor) -> Tensor:
    """(C, H, W) -> uint8 (H, W), uint16 of more than 256 classes; of equal scores the lowest class wins."""
    return scores.argmax(0).to(torch.uint8 if len(scores) <= 256 else torch.uint16)
