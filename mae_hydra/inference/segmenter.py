"""What segmentation inference asks of a model, and what it promises.

Shape letters: K classes, C channels, H W pixels. A model is used as it is: putting it in eval mode is the caller's
matter.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mae_hydra.inference.resize import resize_image
from mae_hydra.inference.windows import Size
from mae_hydra.models import UPerNet


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
    if len(scores) > 256:
        raise ValueError(f"class maps are uint8, which holds 256 classes; the model has {len(scores)}")
    return scores.argmax(0).to(torch.uint8)
