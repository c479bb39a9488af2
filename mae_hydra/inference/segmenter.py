"""What segmentation inference asks of a model, and what it promises.

Shape letters: K classes, C channels, H W pixels. A model is used as it is: putting it in eval mode is the caller's
matter.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mae_hydra.inference.resize import resize_image, resize_scores
from mae_hydra.inference.windows import Size
from mae_hydra.models import UPerNet

RESIZED_BYTES = 2**29  # of scores at a picture's own size, at once


class Encoder(Protocol):
    @property
    def image_size(self) -> Size: ...


class SegmentationModel(Protocol):
    """`prepare`: uint8 images (B, C, H, W) -> normalised float. A call: normalised images -> logits (B, K, H, W)."""

    @property
    def encoder(self) -> Encoder: ...

    def prepare(self, images: Tensor) -> Tensor: ...

    def __call__(self, images: Tensor) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class SegmentationInference(Protocol):
    """How pictures of any size become class maps of the same size."""

    def check(self, model: Any, size: Size) -> None:
        """Raise a UserError where a picture of `size` (height, width) could not go through `model`."""
        ...

    def scores(self, model: Any, image: Tensor) -> Tensor:
        """float32 (K, H, W) at the size of `image`, uint8 (C, H, W); the largest score is the class."""
        ...

    def predict(self, model: Any, images: list[Tensor]) -> list[Tensor]:
        """Class maps uint8 (H, W), on the model's device, of images uint8 (C, H, W) of any sizes."""
        ...


def sooner(model: SegmentationModel) -> SegmentationModel:
    """The form of `model` that gives the same logits for less work, where there is one."""
    return model.fast() if isinstance(model, UPerNet) else model


def prepared(model: SegmentationModel, image: Tensor, size: Size | None) -> Tensor:
    """One image uint8 (C, H, W), on the model's device, resized to `size` and normalised: float (C, h, w)."""
    image = image.to(next(model.parameters()).device, non_blocking=True)
    return model.prepare((image if size is None else resize_image(image, size))[None])[0]


def label_map(scores: Tensor) -> Tensor:
    """(K, H, W) -> uint8 (H, W); of equal scores the lowest class wins."""
    _check_count(len(scores))
    return scores.argmax(0).to(torch.uint8)


def resized_label_map(scores: Tensor, size: Size, most_bytes: int = RESIZED_BYTES) -> Tensor:
    """`label_map(resize_scores(scores, size))`, bit for bit, with only as many classes at `size` as `most_bytes` hold.

    A picture of 4000x6000 pixels has 14.4 GB of scores for 150 classes; resizing treats every class on its own.
    """
    _check_count(len(scores))
    at_once = max(1, most_bytes // (scores.element_size() * size[0] * size[1]))
    best, classes = _largest(scores[:at_once], size)
    for start in range(at_once, len(scores), at_once):
        value, found = _largest(scores[start : start + at_once], size)
        better = value > best
        classes = torch.where(better, found + start, classes)
        best = torch.where(better, value, best)
    return classes


def _largest(scores: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Largest score and its class, uint8, of every pixel at `size`."""
    value, index = resize_scores(scores, size).max(0)
    return value, index.to(torch.uint8)


def _check_count(classes: int) -> None:
    if classes > 256:
        raise ValueError(f"class maps are uint8, which holds 256 classes; the model has {classes}")
