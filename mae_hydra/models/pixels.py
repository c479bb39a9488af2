"""From bytes to the numbers a network likes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt
from torch import Tensor


def channel_statistics(
    mean: Sequence[float], std: Sequence[float], channels: int
) -> tuple[Float[Tensor, "c"], Float[Tensor, "c"]]:
    """Mean and deviation per channel (in units of the 0..1 range) as tensors; ValueError where they do not fit."""
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise ValueError(f"{name} must have one value per channel ({channels}), got {list(values)}")
    if min(std) <= 0:
        raise ValueError(f"std must be positive, got {list(std)}")
    return torch.tensor(mean, dtype=torch.get_default_dtype()), torch.tensor(std, dtype=torch.get_default_dtype())


def normalise(
    images: UInt[Tensor, "b c h w"] | Float[Tensor, "b c h w"], mean: Float[Tensor, "c"], std: Float[Tensor, "c"]
) -> Float[Tensor, "b c h w"]:
    """uint8 images become (x / 255 - mean) / std, uint16 (x / 65535 - mean) / std; floating-point images count as
    normalised already.

    Loaded images may lie in memory channels last; the result does not.
    """
    if images.is_floating_point():
        return images
    white = 65535 if images.dtype == torch.uint16 else 255
    values = images.to(mean.dtype, memory_format=torch.contiguous_format) / white
    return (values - mean[:, None, None]) / std[:, None, None]


def denormalise(
    images: Float[Tensor, "b c h w"], mean: Float[Tensor, "c"], std: Float[Tensor, "c"]
) -> Float[Tensor, "b c h w"]:
    """The inverse of `normalise`, in the 0..1 range, not clipped."""
    return images * std[:, None, None] + mean[:, None, None]
