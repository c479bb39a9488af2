"""What happens to a sample before it enters a batch.

All randomness comes from the generator given, so a sample's crop, flip and colours are a function of
(seed, epoch, index), whatever worker or rank makes them.

Shape letters: C channels, H W pixels.
"""

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import Any, Literal, Protocol, get_args

import torch
from numpy.random import Generator
from torch import Tensor

from mae_hydra.data.augment import crops
from mae_hydra.data.augment.crop_notes import crop_notes, reduction_notes
from mae_hydra.data.augment.encoded import Decode, Unread
from mae_hydra.data.augment.on_device import Draft, Finished, Undistorted
from mae_hydra.data.augment.photometric import distort, draw_distortion, is_photograph
from mae_hydra.data.augment.randaugment import RandAugment
from mae_hydra.data.dataset import Sample, height_width

LARGEST_WITH_MARGIN = 224  # pixels
MARGIN = 0.875


class Augment(Protocol):
    """A sample to what is stacked into a batch: image uint8 (C, H, W) of one size for all, and its label.

    The image may be a `Draft`, which the device finishes. All chance comes from `rng`.

    More is an offer, used where it is there. `takes_unread`: whether samples may come as `Unread`, so that no more is
    decoded than the crop needs. `crops_per_image`: how many are made of an image each time that it is read (repeated
    augmentation). `at(epoch)`: the augmentation of the steps that begin in that epoch. `notes_on(sizes)`: what somebody
    with training pictures of these sizes (H, W) should know.
    """

    def __call__(self, sample: Any, rng: Generator) -> tuple[Tensor | Draft, Tensor | int | None]: ...


class PretrainAugment:
    """Random resized crop (bicubic, antialiased) and horizontal flip: the MAE recipe.

    `scale`: range of the crop's share of the area, `ratio`: range of its width / height relative to those of `size`,
    which is how much a crop is stretched, `flip`: probability. `clamp`: as of `random_resized_box`. `decode`: what of a
    JPEG is decoded (see `encoded`). `crops_per_image`: more than one shares the decoding of an image among so many
    samples of a batch (arXiv 1901.09335; 4 in MAE's video recipe).
    `smaller`: sizes of the crops before epochs `smaller_until`, in this order; from the last of those epochs on `size`
    (progressive training, arXiv 2104.00298).
    A class id stays with its image; a class map is dropped, because pre-training has no use for it.
    """

    def __init__(
        self,
        *,
        size: int | Sequence[int],
        scale: Sequence[float],
        ratio: Sequence[float],
        flip: float,
        clamp: bool = False,
        decode: str = "crop",
        crops_per_image: int = 1,
        smaller: Sequence[int | Sequence[int]] = (),
        smaller_until: Sequence[int] = (),
    ) -> None:
        if crops_per_image < 1:
            raise ValueError(f"augment.crops_per_image must be at least 1, got {crops_per_image}")
        if decode not in get_args(Decode):
            raise ValueError(f"augment.decode must be one of {', '.join(get_args(Decode))}, got {decode!r}")
        self.size, self.clamp, self.decode = height_width(size), clamp, decode
        self.scale, self.ratio = _range("scale", scale, highest=1.0), _range("ratio", ratio)
        self.flip = _probability("flip", flip)
        if decode == "device" and crops_per_image > 1:
            raise ValueError("augment.decode=device decodes an image for one crop; use augment.crops_per_image=1")
        self.crops_per_image = crops_per_image
        self.takes_unread = crops_per_image == 1  # else the image is decoded once and cut several times
        self._smaller = _stages(smaller, smaller_until)

    def at(self, epoch: int) -> "PretrainAugment":
        for until, size in self._smaller:
            if epoch < until:
                then = copy(self)
                then.size = size
                return then
        return self

    def notes_on(self, sizes: Sequence[tuple[int, int]]) -> list[str]:
        """What is to be said of training pictures of these sizes (H, W)."""
        return crop_notes(sizes, self.size, self.scale, self.ratio, clamp=self.clamp)

    def __call__(self, sample: Sample | Unread, rng: Generator) -> tuple[Tensor | Draft, Tensor | int | None]:
        height, width = sample.image.shape[1:]
        aspect = self.size[1] / self.size[0]
        box = crops.random_resized_box(height, width, self.scale, self.ratio, rng, clamp=self.clamp, aspect=aspect)
        flip = bool(rng.random() < self.flip)
        label = sample.label if isinstance(sample.label, int) else None
        if isinstance(sample, Unread):
            if self.decode == "device":
                return sample.image.draft(box, self.size, flip=flip), label
            image = sample.image.cropped(box, self.size, self.decode)
        else:
            image = crops.resize_bicubic(crops.cut(sample.image, box), self.size)
        if flip:
            image = image.flip(-1)
        return Finished(image) if self.decode == "device" else image, label


class ClassifyAugment:
    """The crop and flip of `PretrainAugment`, then RandAugment: MAE's fine-tuning (paper, table 9).

    `randaugment`: a policy in timm's words, "rand-m9-mstd0.5-inc1" (two of 15 operations, each applied to every second
    image), or None. `fill`: the colour of what comes in from outside the picture, per channel in units of 0..1.
    """

    takes_unread = True

    def __init__(
        self,
        *,
        size: int | Sequence[int],
        scale: Sequence[float],
        ratio: Sequence[float],
        flip: float,
        randaugment: str | None,
        fill: Sequence[float],
        decode: str = "crop",
    ) -> None:
        self.crop = PretrainAugment(size=size, scale=scale, ratio=ratio, flip=flip, decode=decode)
        if decode == "device" and randaugment is not None:
            raise ValueError("augment.randaugment changes decoded pixels; use augment.decode=reduced, crop or whole")
        self.policy = None if randaugment is None else RandAugment(randaugment, self.crop.size, fill)

    def notes_on(self, sizes: Sequence[tuple[int, int]]) -> list[str]:
        return self.crop.notes_on(sizes)

    def __call__(self, sample: Sample | Unread, rng: Generator) -> tuple[Tensor | Draft, Tensor | int | None]:
        image, label = self.crop(sample, rng)
        if self.policy is not None:
            assert isinstance(image, Tensor)
            image = self.policy(image, rng)
        return image, label


class SegmentAugment:
    """Random resize, crop, flip, photometric distortion and padding: UPerNet's recipe on ADE20K, after mmsegmentation.

    `short`: the image's shorter side is brought to so many pixels (the longer to at most four times as many), times a
    factor drawn from `ratio_range`; "size": as many as `size` has; None: the image's own size times the factor.
    `cat_max_ratio`: a crop of which one class fills this share or more is drawn again, up to ten times.
    `flip`: probability. `fill`: the colour that images are padded with, one value per channel in units of 0..1; with
    the data's mean the padding is zero after normalisation, to the rounding of uint8. Labels are padded with
    `ignore_index`. `photometric`: on bands that are no RGB of 8 bits brightness and contrast alone. `photometric_on`:
    "workers", or "device" for the same distortion of a batch at once.
    """

    def __init__(
        self,
        *,
        size: int | Sequence[int],
        ratio_range: Sequence[float],
        cat_max_ratio: float,
        flip: float,
        photometric: bool,
        ignore_index: int,
        fill: Sequence[float],
        photometric_on: str = "workers",
        short: int | Sequence[int] | Literal["size"] | None = "size",
    ) -> None:
        self.size = height_width(size)
        self.short = self.size if short == "size" else None if short is None else height_width(short)
        self.ratio_range = _range("ratio_range", ratio_range)
        if not 0 < cat_max_ratio <= 1:
            raise ValueError(f"augment.cat_max_ratio must lie in (0, 1], got {cat_max_ratio}")
        self.cat_max_ratio = cat_max_ratio
        self.flip = _probability("flip", flip)
        if photometric_on not in ("workers", "device"):
            raise ValueError(f"augment.photometric_on must be workers or device, got {photometric_on!r}")
        self.photometric, self.photometric_on = photometric, photometric_on
        self.ignore_index = ignore_index
        if not all(0 <= value <= 1 for value in fill):
            raise ValueError(f"augment.fill must hold values in [0, 1], got {list(fill)}")
        self.fill = torch.tensor(list(fill), dtype=torch.float64)[:, None, None]

    def notes_on(self, sizes: Sequence[tuple[int, int]]) -> list[str]:
        """What is to be said of training pictures of these sizes (H, W)."""
        return [] if self.short is None else reduction_notes(sizes, min(self.short))

    def __call__(self, sample: Sample, rng: Generator) -> tuple[Tensor | Draft, Tensor | int | None]:
        if not isinstance(sample.label, Tensor):
            raise TypeError(f"SegmentAugment needs a class map for each image, {sample.name} has {sample.label!r}")
        factor = rng.uniform(*self.ratio_range)
        height, width = sample.image.shape[1:]
        long_side, short_side = max(height, width), min(height, width)
        if self.short is not None:
            long_side, short_side = 4 * max(self.short), min(self.short)
        resized = crops.fitted_size(height, width, int(long_side * factor), int(short_side * factor))
        labels = crops.resize_nearest(sample.label, resized)
        box = self._draw_box(labels, rng)
        image = crops.cut(crops.resize_bilinear(sample.image, resized), box)
        labels = crops.cut(labels, box)
        if rng.random() < self.flip:
            image, labels = image.flip(-1), labels.flip(-1)
        distortion = draw_distortion(rng) if self.photometric else None
        if distortion is not None and (self.photometric_on == "workers" or not is_photograph(image)):
            image, distortion = distort(image, distortion), None
        most = 65535 if image.dtype == torch.uint16 else 255
        padded = crops.pad(image, self.size, (self.fill * most).round().to(image.dtype))
        labels = crops.pad(labels, self.size, torch.tensor(self.ignore_index, dtype=torch.uint8))
        height, width = image.shape[1:]
        return padded if distortion is None else Undistorted(padded, distortion, (height, width)), labels

    def _draw_box(self, labels: Tensor, rng: Generator) -> crops.Box:
        height, width = labels.shape
        box = crops.random_box(height, width, self.size, rng)
        if self.cat_max_ratio == 1:
            return box
        for _ in range(10):
            if self._is_mixed(crops.cut(labels, box)):
                break
            box = crops.random_box(height, width, self.size, rng)
        return box  # the tenth redraw is kept as it is

    def _is_mixed(self, labels: Tensor) -> bool:
        counts = torch.bincount(labels.flatten(), minlength=256)
        counts[self.ignore_index] = 0
        return int((counts > 0).sum()) > 1 and int(counts.max()) < self.cat_max_ratio * int(counts.sum())


class EvalCrop:
    """A sample to its resized centre crop: the shorter side to size / crop_ratio (bicubic, antialiased), then `size`.

    The evaluation transform of ImageNet (crop_ratio 0.875: 256, then 224). None is MAE's rule: 0.875 up to 224 pixels,
    1 above. A class map goes with its image, nearest.
    For a rectangular `size` the image is made just large enough to cover size / crop_ratio.
    """

    def __init__(self, *, size: int | Sequence[int], crop_ratio: float | None) -> None:
        self.size = height_width(size)
        if crop_ratio is None:
            crop_ratio = MARGIN if min(self.size) <= LARGEST_WITH_MARGIN else 1.0
        if not 0 < crop_ratio <= 1:
            raise ValueError(f"crop_ratio must lie in (0, 1], got {crop_ratio}")
        self.cover = (int(self.size[0] / crop_ratio), int(self.size[1] / crop_ratio))

    def __call__(self, sample: Sample) -> Sample:
        height, width = sample.image.shape[1:]
        if self.cover[0] * width >= self.cover[1] * height:  # the height needs the larger factor
            resized = (self.cover[0], self.cover[0] * width // height)
        else:
            resized = (self.cover[1] * height // width, self.cover[1])
        box = (round((resized[0] - self.size[0]) / 2), round((resized[1] - self.size[1]) / 2), *self.size)
        image = crops.cut(crops.resize_bicubic(sample.image, resized), box)
        label = sample.label
        if isinstance(label, Tensor):
            label = crops.cut(crops.resize_nearest(label, resized), box)
        return Sample(image, label, sample.name)


def _range(name: str, values: Sequence[float], highest: float = float("inf")) -> tuple[float, float]:
    pair = tuple(values)
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= highest:
        raise ValueError(f"augment.{name} must be [low, high] with 0 < low <= high <= {highest:g}, got {list(pair)}")
    return float(pair[0]), float(pair[1])


def _stages(sizes: Sequence[int | Sequence[int]], until: Sequence[int]) -> list[tuple[int, tuple[int, int]]]:
    """Pairs of the epoch before which a size holds, and that size."""
    if len(sizes) != len(until):
        raise ValueError(
            "augment.smaller_until must name an epoch for each size of augment.smaller, "
            f"got {len(until)} for {len(sizes)}"
        )
    if any(later <= sooner for sooner, later in pairwise([0, *until])):
        raise ValueError(f"augment.smaller_until must ascend from above 0, got {list(until)}")
    return list(zip(until, map(height_width, sizes), strict=True))


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"augment.{name} must be a probability in [0, 1], got {value}")
    return float(value)
