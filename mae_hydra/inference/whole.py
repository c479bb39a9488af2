"""Whole-image inference: one forward pass per picture, all pictures of a call in one batch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from mae_hydra.errors import UserError
from mae_hydra.inference.resize import checked_long_ratio, resize_scores, resized_size, short_side, size_of
from mae_hydra.inference.segmenter import SegmentationModel, prepared, resized_label_map, sooner
from mae_hydra.inference.windows import Size


class Whole:
    """For pictures that fit the model: smaller ones are padded bottom and right with the mean colour, larger refused.

    `short`: resize to this short side first (ratio kept, the long side at most `long_ratio` times as long; null: no
    cap); null: no resizing. The scores are logits.
    """

    def __init__(self, *, short: int | Sequence[int] | None, long_ratio: float | None) -> None:
        self.short, self.long_ratio = short_side(short), checked_long_ratio(long_ratio)

    def check(self, model: SegmentationModel, size: Size) -> None:
        """Raise a UserError where a picture of `size` (height, width), resized, is larger than what the model takes."""
        height, width = self._size(size)
        limit = model.encoder.image_size
        if height > limit[0] or width > limit[1]:
            raise UserError(
                f"a picture of {height}x{width} pixels does not fit the model, which takes {limit[0]}x{limit[1]}: "
                "use inference=slide, which cuts it into windows"
            )

    @torch.no_grad()
    def scores(self, model: SegmentationModel, image: Tensor) -> Tensor:
        [(_, logits)] = self._logits(model, [image])
        return resize_scores(logits, size_of(image))

    @torch.no_grad()
    def predict(self, model: SegmentationModel, images: list[Tensor]) -> list[Tensor]:
        return [resized_label_map(logits, size_of(image)) for image, logits in self._logits(model, images)]

    def _logits(self, model: SegmentationModel, images: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """(image, its logits at the size at which it was looked at)."""
        model = sooner(model)
        inputs = [self._input(model, image) for image in images]
        height, width = model.encoder.image_size
        # Padded after normalisation, where the mean colour is zero.
        batch = [pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in inputs]
        for image, inside, logits in zip(images, inputs, model(torch.stack(batch)), strict=True):
            yield image, logits[:, : inside.shape[1], : inside.shape[2]].float()

    def _input(self, model: SegmentationModel, image: Tensor) -> Tensor:
        self.check(model, size_of(image))
        return prepared(model, image, self._size(size_of(image)))

    def _size(self, size: Size) -> Size:
        return size if self.short is None else resized_size(size, self.short, self.long_ratio)
