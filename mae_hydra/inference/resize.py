"""Resizing at test time: the size that keeps the aspect ratio, images on uint8, scores on float32.

All bilinear, align_corners=False and without antialiasing, as the published ADE20K numbers were computed.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from mae_hydra.inference.windows import Size, as_size


def size_of(image: Tensor) -> Size:
    """(height, width) of an image or of scores (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def resized_size(size: Size, short: int, long_ratio: float | None) -> Size:
    """(height, width): the ratio of `size` kept, short side `short`, long side at most int(`long_ratio` * `short`).

    mmcv's rule: factor = min(long / longer side, short / shorter side), each side int(side * factor + 0.5).
    `long_ratio` None: no cap.
    """
    factor = short / min(size)
    if long_ratio is not None:
        factor = min(int(long_ratio * short) / max(size), factor)
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def resize_image(image: Tensor, size: Size) -> Tensor:
    """uint8 (C, H, W) -> uint8 (C, *size)."""
    if size_of(image) == size:
        return image
    # Rounded back to uint8: the networks behind the published numbers were shown quantised pixels.
    resized = interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False)
    return resized[0].round().clamp(0, 255).to(image.dtype)


def resize_scores(scores: Tensor, size: Size) -> Tensor:
    """float (K, H, W) -> float (K, *size)."""
    if size_of(scores) == size:
        return scores
    return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]


def short_side(short: int | Sequence[int] | None) -> int | None:
    """The `short` of a configuration in pixels; of [height, width] the smaller; None: no resizing."""
    return None if short is None else min(as_size("short", short))


def checked_long_ratio(long_ratio: float | None) -> float | None:
    """The `long_ratio` of a configuration; None: no cap on the long side."""
    if long_ratio is not None and long_ratio < 1:
        raise ValueError(f"long_ratio must be at least 1 or null (no cap on the long side), got {long_ratio}")
    return long_ratio
