"""Random erasing (arXiv 1708.04896) of normalised images on the device, a whole batch at once."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

TRIES = 10


class RandomErasing:
    """With `probability` one rectangle of an image becomes normal noise, pixel by pixel (timm's mode "pixel").

    Its area is uniform in `area` (shares of the image), its height / width log-uniform in `aspect`; a rectangle that
    does not fit is drawn again, up to ten times. Boxes come from torch's CPU generator.
    """

    def __init__(
        self, *, probability: float, area: tuple[float, float] | list[float], aspect: tuple[float, float] | list[float]
    ) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {probability}")
        for name, pair, highest in (("area", area, 1.0), ("aspect", aspect, math.inf)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= highest:
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high <= {highest:g}, got {list(pair)}")
        self.probability, self.area, self.aspect = probability, area, aspect

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        height, width = images.shape[2:]
        boxes = self.draw(len(images), height, width).to(images.device, non_blocking=True)
        inside = _within(boxes[:, :2], height)[:, None, :, None] & _within(boxes[:, 2:], width)[:, None, None, :]
        return torch.where(inside, torch.randn_like(images), images)

    def draw(self, count: int, height: int, width: int) -> Int64[Tensor, "b 4"]:
        """(top, bottom, left, right) for each of `count` images; an empty box for those that are left alone."""
        area = torch.empty(count, TRIES).uniform_(*self.area) * (height * width)
        shape = torch.empty(count, TRIES).uniform_(math.log(self.aspect[0]), math.log(self.aspect[1])).exp()
        tall, wide = (area * shape).sqrt().round().long(), (area / shape).sqrt().round().long()
        fits = (tall < height) & (wide < width)
        first = fits.int().argmax(1, keepdim=True)
        tall, wide = tall.gather(1, first), wide.gather(1, first)
        top = (torch.rand(count, 1) * (height - tall + 1)).long()
        left = (torch.rand(count, 1) * (width - wide + 1)).long()
        boxes = torch.cat([top, top + tall, left, left + wide], dim=1)
        chosen = (torch.rand(count) < self.probability) & fits.any(1)
        return boxes * chosen[:, None]


def _within(edges: Int64[Tensor, "b 2"], length: int) -> Tensor:
    """bool (B, length): positions from the first edge up to, and without, the second."""
    positions = torch.arange(length, device=edges.device)
    return (positions >= edges[:, :1]) & (positions < edges[:, 1:])
