"""What a source of images is: samples, sets of them, and the pair of sets that a configuration's data node stands for.

Shape letters: C channels (or classes, where a palette is meant), H W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
from torch import Tensor

from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.label_table import Reading
from mae_hydra.names import class_names

Target = Literal["none", "class", "map"]
"""What a sample's label is: nothing, a class id, or a class map."""


class Sample(NamedTuple):
    """One image as it was stored or rendered: not resized, not flipped, not normalised.

    `image`: uint8 or uint16 (C, H, W). `label`: uint8 or uint16 (H, W) class map, class id, or None.
    `name`: what a person would call it, for file names, captions and error messages ("ADE_val_00000001").
    """

    image: Tensor
    label: Tensor | int | None
    name: str


class Stored(NamedTuple):
    """A sample as it lies on the disk: what a person would call it, the encoded image, and its class id or None."""

    name: str
    encoded: bytes
    class_id: int | None


class Header(NamedTuple):
    """What a sample's files tell without their pixels.

    `size`: (H, W), upright. `mode`: what a pixel is in Pillow's words ("RGB", "I;16"), of the class map where there is
    one. `deep`: whether the image has more than 8 bits a channel. `orientation`: by which EXIF turns it (1: not).
    """

    size: tuple[int, int]
    mode: str
    deep: bool
    orientation: int

    @property
    def turned(self) -> bool:
        return self.orientation != 1

    @property
    def on_its_side(self) -> bool:
        """Whether being turned makes rows of columns."""
        return self.orientation >= 5


class ImageSet(Protocol):
    """Samples by position. The same position gives the same sample, in every process."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@runtime_checkable
class OwnOrder(Protocol):
    """An ImageSet that knows better than chance in which order it is read fastest."""

    def order(self, seed: int, global_batch: int) -> Callable[[int, int], int]:
        """(epoch, place) -> position; all places of an epoch differ. A function of the arguments alone."""
        ...


@runtime_checkable
class Listed(Protocol):
    """An ImageSet of files."""

    def listing(self) -> str:
        """A digest of their names: another set, or one to which something was added, has another."""
        ...


@runtime_checkable
class Stamped(Protocol):
    """An ImageSet of files."""

    def stamp(self, index: int) -> str:
        """What changes with a sample: the names, sizes and times of its files, and its class."""
        ...


def stamp_of(images: ImageSet, index: int) -> str:
    """The stamp of a sample; of a set that is a function of its parameters, its position."""
    return images.stamp(index) if isinstance(images, Stamped) else str(index)


@runtime_checkable
class Comparable(Protocol):
    """An ImageSet that can tell whether it holds the same as another one, or as itself at another time and place."""

    def contents(self) -> str:
        """A digest of names and sizes that does not change where the files are copied or moved."""
        ...


def name_of(images: Any, index: int) -> str:
    """What a sample is called wherever its files lie; of a set without names, its position."""
    named = getattr(images, "name", None)
    return str(index) if named is None else named(index)


@runtime_checkable
class LabelledSet(Protocol):
    """An ImageSet whose class maps can be had without the pixels of its images."""

    def labels(self, index: int) -> Tensor:
        """The class map of a sample, uint8 or uint16 (H, W); UserError where it cannot be read."""
        ...


def read_undecoded(images: Any, index: int) -> Any:
    """A sample of an ImageSet, with its image still encoded (`encoded.Unread`) where the set has it so."""
    undecoded = getattr(images, "undecoded", None)
    return images[index] if undecoded is None else undecoded(index)


@runtime_checkable
class Foreseeable(Protocol):
    """An ImageSet of files, whose headers say what will be met."""

    def header(self, index: int) -> Header:
        """UserError where the sample cannot be used: no picture, no class map, two sizes."""
        ...

    def digest(self) -> str:
        """A digest of the files' names, sizes and times, and of how their labels are understood."""
        ...


class SampleTransform(Protocol):
    """What evaluation does to a sample before a model sees it; nothing random."""

    def __call__(self, sample: Sample) -> Sample: ...


@dataclass(frozen=True)
class ImageData:
    """A data set as training and evaluation see it: two splits and the facts about them.

    `image_size`: (H, W) in pixels that training crops to. `mean`, `std`: one value per channel, in units of 0..1.
    `palette`: uint8 (num_classes, 3), RGB. `ignore_index`: the value in class maps that counts for nothing.
    `batch_size`: images per process in a step, `num_workers`: loading processes per training process (0: none).
    `prefetch`: batches that each of them holds ready.
    `max_bad_share`: of the training images, which may be unreadable and are then replaced (0: the first is an error).
    Without labels (`target` "none") `num_classes` is 0, and `class_names` and `palette` are empty.
    `present_classes`: the class ids that occur in validation, where that is a part of them by design (None: any may).
    `reading`: how the numbers stored in class maps are understood (None: nothing stands between them and the classes).
    `assumed_names`: the data set does not name its classes.
    `grouped`: what stands in a validation image's name before its class's folder is the group it is counted in.
    `pixel_range`: what becomes 0 and 255 of pictures of more than 8 bits (None: no such picture was met).
    `shown`: the channels that pictures show as red, green and blue, or the one (empty: the first).
    `test`: the set that only `evaluate <run> split=test` looks at, listed when it is asked for (None: there is none).
    `notes`: what a person should know of the set before the first step, a line each.
    """

    train: ImageSet
    validation: ImageSet
    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    class_names: tuple[str, ...]
    palette: np.ndarray
    ignore_index: int
    target: Target
    batch_size: int
    num_workers: int
    prefetch: int = 2
    max_bad_share: float = 0.0
    present_classes: tuple[int, ...] | None = None
    grouped: bool = False
    reading: Reading | None = None
    assumed_names: bool = False
    pixel_range: PixelRange | None = None
    shown: tuple[int, ...] = ()
    test: Callable[[], ImageSet] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_loading(self.batch_size, self.num_workers)
        if self.prefetch < 1:
            raise ValueError(f"data.prefetch must be at least 1 batch, got {self.prefetch}")
        if not 0 <= self.max_bad_share < 1:
            raise ValueError(f"data.max_bad_share must lie in [0, 1), got {self.max_bad_share}")
        if self.channels < 1:
            raise ValueError(f"data.channels must be at least 1, got {self.channels}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"data.{name} must hold one value per channel ({self.channels}), got {list(values)}")
        if min(self.std) <= 0:
            raise ValueError(f"data.std must be positive, got {list(self.std)}")
        if self.target not in get_args(Target):
            raise ValueError(f"data.target must be one of {list(get_args(Target))}, got {self.target!r}")
        if self.num_classes < 0:
            raise ValueError(f"data.num_classes must not be negative, got {self.num_classes}")
        most = 255 if self.num_classes <= 255 else 2**16 - 1
        if self.target == "map" and not 0 <= self.ignore_index <= most:
            raise ValueError(f"data.ignore_index must lie in 0..{most} for these class maps, got {self.ignore_index}")
        object.__setattr__(self, "class_names", class_names(self.class_names))  # whatever file they are from
        if len(self.class_names) != self.num_classes:
            raise ValueError(
                f"data.num_classes={self.num_classes} needs that many class names (data.classes), "
                f"got {len(self.class_names)}"
            )
        if self.palette.shape != (self.num_classes, 3) or self.palette.dtype != np.uint8:
            raise ValueError(
                f"data.palette must be uint8 ({self.num_classes}, 3), got {self.palette.dtype} {self.palette.shape}"
            )


class _Some:
    """Some of the samples of a set, by position."""

    def __init__(self, whole: ImageSet, positions: range | Sequence[int]) -> None:
        self._whole, self._positions = whole, positions

    def __len__(self) -> int:
        return len(self._positions)

    def listing(self) -> str:
        whole = self._whole.listing() if isinstance(self._whole, Listed) else "embedded"
        return f"{len(self)} of {whole}"

    def contents(self) -> str:
        whole = self._whole.contents() if isinstance(self._whole, Comparable) else "embedded"
        return f"{len(self)} of {whole}"

    def __getitem__(self, index: int) -> Sample:
        return self._whole[self._positions[index]]

    def undecoded(self, index: int) -> Any:
        return read_undecoded(self._whole, self._positions[index])

    def stamp(self, index: int) -> str:
        return stamp_of(self._whole, self._positions[index])

    def name(self, index: int) -> str:
        return name_of(self._whole, self._positions[index])

    def behind(self, index: int) -> tuple[ImageSet, int]:
        return self._whole, self._positions[index]


def behind(image_set: Any, index: int) -> tuple[Any, int]:
    """The set of files behind a part of it, and the position of sample `index` there."""
    while isinstance(image_set, _Some):
        image_set, index = image_set.behind(index)
    return image_set, index


class _SomeFiles(_Some):
    """Some of a Foreseeable set."""

    def header(self, index: int) -> Header:
        assert isinstance(self._whole, Foreseeable)
        return self._whole.header(self._positions[index])

    def digest(self) -> str:
        assert isinstance(self._whole, Foreseeable)
        return f"{len(self)} of {self._whole.digest()}"


def spread(size: int, count: int | None) -> list[int]:
    """`count` of `size` positions (all, where None or more than there are), evenly spaced and in order."""
    wanted = size if count is None else min(count, size)
    return [number * size // wanted for number in range(wanted)]


def limited(image_set: ImageSet, train_limit: int | float | None) -> ImageSet:
    """`train_limit` samples, or that share of them where it is below 1; None: all.

    They are spread evenly over the set, so that classes of a sorted one all keep their share.
    """
    if train_limit is None:
        return image_set
    if 0 < train_limit < 1:
        train_limit = max(round(train_limit * len(image_set)), 1)
    if train_limit != int(train_limit):
        raise ValueError(f"data.train_limit must be a whole number, or a share in (0, 1), got {train_limit}")
    train_limit = int(train_limit)
    if not 1 <= train_limit <= len(image_set):
        raise ValueError(f"data.train_limit must lie in 1..{len(image_set)} or be null, got {train_limit}")
    return some_of(image_set, spread(len(image_set), train_limit))


def some_of(image_set: ImageSet, positions: Sequence[int]) -> ImageSet:
    """The samples at these positions, in this order."""
    kind = _SomeFiles if isinstance(image_set, Foreseeable) else _Some
    return kind(image_set, positions)


def check_loading(batch_size: int, num_workers: int) -> None:
    """Refuse impossible sizes before any file is looked at."""
    if batch_size < 1:
        raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
    if num_workers < 0:
        raise ValueError(f"data.num_workers must not be negative, got {num_workers}")


def height_width(image_size: int | Sequence[int]) -> tuple[int, int]:
    """`image_size` of a configuration, one side of a square or [H, W], as (H, W)."""
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(f"data.image_size must be one side or [height, width] in whole pixels, got {image_size}")
    return sides[0], sides[1]
