"""What is measured: a training step, and the classes of a picture, as they happen in a run."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mae_hydra.engine import Settings, State, train_step, wrap
from mae_hydra.inference.resize import resize_image, resized_size, size_of
from mae_hydra.inference.windows import window_corners
from mae_hydra.types import Batch


class TrainingStep:
    """One optimizer step of `model` on a batch of noise that stays on the device: loading is not in it."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, settings: Settings, batch: Batch, accumulate: int
    ) -> None:
        self.forward = wrap(model, settings)
        self.state = State(model, optimizer, settings.scaler())
        self.settings, self.accumulate = settings, accumulate
        self.batch = batch.to(settings.torch_device)

    def __call__(self) -> None:
        train_step(self.state, self.forward, self._batches(), accumulate=self.accumulate, settings=self.settings)

    def _batches(self) -> Iterator[Batch]:
        while True:
            yield self.batch


def noise_batch(size: tuple[int, int], channels: int, images: int, num_classes: int) -> Batch:
    """Bytes and labels from a fixed seed; labels only where there are classes."""
    dice = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (images, channels, *size), dtype=torch.uint8, generator=dice)
    labels = torch.randint(0, num_classes, (images, *size), dtype=torch.uint8, generator=dice) if num_classes else None
    return Batch(pictures, labels)


def plain_loop(model: Any, image: Tensor, *, crop: int, stride: int, short: int) -> Tensor:
    """The sliding window as it is written everywhere: one window at a time, each padded to the whole picture.

    Class map uint8 (H, W) of an image uint8 (C, H, W), as mmsegmentation computes it.
    """
    size = resized_size(size_of(image), short, 4.0)
    return _plain_scores(model, image, size, crop, stride)[0].argmax(0).to(torch.uint8)


def plain_multiscale(
    model: Any, image: Tensor, *, crop: int, stride: int, short: int, ratios: Sequence[float], flip: bool
) -> Tensor:
    """`plain_loop` at every ratio of `short`, and mirrored where `flip` says so; the mean of the probabilities."""
    total: Tensor | None = None
    for ratio in ratios:
        size = resized_size(size_of(image), max(int(short * ratio), crop), None)
        for mirrored in (False, True) if flip else (False,):
            scores = _plain_scores(model, image.flip(-1) if mirrored else image, size, crop, stride).softmax(1)
            scores = scores.flip(-1) if mirrored else scores
            total = scores if total is None else total + scores
    assert total is not None
    return total[0].argmax(0).to(torch.uint8)


def _plain_scores(model: Any, image: Tensor, size: tuple[int, int], crop: int, stride: int) -> Tensor:
    """Mean logits (1, C, H, W) of the windows of `image`, resized to `size`, at its own size again."""
    image = image.to(next(model.parameters()).device)
    resized = model.prepare(resize_image(image, size)[None])
    height, width = size_of(resized)
    total = resized.new_zeros((1, model.num_classes, height, width))
    times = resized.new_zeros((1, 1, height, width))
    for top, left in window_corners((height, width), (crop, crop), (stride, stride)):
        window = resized[:, :, top : top + crop, left : left + crop]
        logits = interpolate(model.low_resolution_logits(window), size=(crop, crop), mode="bilinear")
        total += nn.functional.pad(logits, (left, width - left - crop, top, height - top - crop))
        times[:, :, top : top + crop, left : left + crop] += 1
    return interpolate(total / times, size=size_of(image), mode="bilinear")
