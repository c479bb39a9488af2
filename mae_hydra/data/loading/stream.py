"""Samples to batches: endless micro-batches for training, every sample once for evaluation; with workers or without.

The order is a function of (seed, epoch), a sample's augmentation of (seed, epoch, index). A stream therefore starts at
any step without replaying what came before, and the number of workers and ranks changes nothing.
"""

from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mae_hydra.data.augment.on_device import Draft
from mae_hydra.data.augment.transforms import Augment
from mae_hydra.data.dataset import ImageSet, OwnOrder, Sample, SampleTransform, check_loading, read_undecoded
from mae_hydra.data.loading.serving import serve
from mae_hydra.data.loading.unreadable import Unreadable, replacements
from mae_hydra.errors import UserError
from mae_hydra.seeds import generator
from mae_hydra.types import Batch


@dataclass(frozen=True, slots=True)
class _Key:
    epoch: int
    index: int
    stage: int = 0  # the epoch in which its step begins: a batch has one size
    crop: int = 0  # of the crops of this image


@dataclass(frozen=True, slots=True)
class _Item:
    image: Tensor | Draft
    label: Tensor | int | None
    index: int
    lost: tuple[str, ...] = ()  # why it stands in the place of another


class _Stacked(NamedTuple):
    batch: Batch
    lost: list[str]


class TrainStream:
    """Micro-batches of one rank (types.Stream).

    An epoch has L positions: the number of samples rounded down to whole steps of `global_batch`, or all samples where
    there are fewer than that. Position p of the run is sample permutation(seed, p // L)[p % L], unless the set has an
    order of its own; step s takes positions
    s * global_batch and following, each rank a contiguous share of them, cut into micro-batches. With c crops per image
    (see `Augment`) c successive positions are crops of one image: an epoch, counted in crops, then visits one image in
    c, and the orders follow one another as before. A sample that cannot be read is replaced by another, up to the share
    `max_bad_share` of them (0: the first one is an error).
    """

    def __init__(
        self,
        dataset: ImageSet,
        augment: Augment,
        *,
        global_batch: int,
        micro_batch: int,
        rank: int,
        world_size: int,
        seed: int,
        num_workers: int,
        device_is_cuda: bool,
        prefetch: int = 2,
        max_bad_share: float = 0.0,
    ) -> None:
        check_loading(micro_batch, num_workers)
        if global_batch < 1 or global_batch % (world_size * micro_batch):
            raise ValueError(
                f"engine.global_batch must be a multiple of ranks x micro-batch, {world_size} x {micro_batch}, "
                f"got {global_batch}"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must lie in 0..{world_size - 1}, got {rank}")
        if len(dataset) == 0:
            raise UserError("the training split holds no sample")
        self._samples = _AugmentedSamples(dataset, augment, seed, replacing=max_bad_share > 0)
        self._unreadable = Unreadable(max_bad_share)
        self._global_batch, self._micro_batch = global_batch, micro_batch
        self._rank, self._share = rank, global_batch // world_size
        self._num_workers, self._prefetch, self._pin = num_workers, prefetch, device_is_cuda
        self._order = dataset.order(seed, global_batch) if isinstance(dataset, OwnOrder) else Shuffle(seed, dataset)
        self._crops = getattr(augment, "crops_per_image", 1)
        whole = len(dataset) // global_batch * global_batch
        self.epoch_length = whole or len(dataset)
        self.steps_per_epoch = self.epoch_length / global_batch

    def batches(self, start_step: int) -> Generator[Batch]:
        """Micro-batches from step `start_step` on, for ever; the first one costs no more at step 100000 than at 0."""
        served = serve(
            self._samples, self._keys(start_step), _stack, self._num_workers, self._pin, prefetch=self._prefetch
        )
        with closing(served):
            for batch, lost in served:
                self._unreadable.note(lost, len(batch))
                yield batch

    def _keys(self, start_step: int) -> Iterator[list[_Key]]:
        for step in count(start_step):
            stage = step * self._global_batch // self.epoch_length
            first = step * self._global_batch + self._rank * self._share
            for start in range(first, first + self._share, self._micro_batch):
                yield [self._key(position, stage) for position in range(start, start + self._micro_batch)]

    def _key(self, position: int, stage: int) -> _Key:
        visit, crop = divmod(position, self._crops)
        epoch, place = divmod(visit, self.epoch_length)
        return _Key(epoch, self._order(epoch, place), stage, crop)


class Shuffle:
    """Any sample at any place: the order of a set that has none of its own."""

    def __init__(self, seed: int, dataset: ImageSet) -> None:
        self._seed, self._size = seed, len(dataset)
        self._orders: OrderedDict[int, np.ndarray] = OrderedDict()

    def __call__(self, epoch: int, place: int) -> int:
        if epoch not in self._orders:
            self._orders[epoch] = epoch_order(self._seed, epoch, self._size)
            while len(self._orders) > 2:
                self._orders.popitem(last=False)
        return int(self._orders[epoch][place])


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch visits `size` samples: int64 (size,)."""
    return generator(seed, "order", epoch).permutation(size)


class EvalStream:
    """Every sample of `indices` (all, where None) once, as lists of (index, Sample), at any size.

    Rank r has each world_size-th of them. No sample is repeated to fill a batch, so a rank may have one fewer than
    another, or none.
    """

    def __init__(
        self,
        dataset: ImageSet,
        transform: SampleTransform | None,
        *,
        batch_size: int,
        num_workers: int,
        rank: int,
        world_size: int,
        indices: Sequence[int] | None = None,
    ) -> None:
        check_loading(batch_size, num_workers)
        chosen = range(len(dataset)) if indices is None else indices
        mine = [int(index) for index in chosen[rank::world_size]]
        self._batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
        self._samples = _PlainSamples(dataset, transform)
        self._num_workers = min(num_workers, len(self._batches))

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[tuple[int, Sample]]]:
        for packed in serve(self._samples, self._batches, _pack, self._num_workers, pin=False):
            yield [(index, _unpack(sample)) for index, sample in packed]


class _AugmentedSamples:
    def __init__(self, dataset: ImageSet, augment: Augment, seed: int, *, replacing: bool) -> None:
        self._dataset, self._augment, self._seed, self._replacing = dataset, augment, seed, replacing
        self._last: tuple[int, Sample] | None = None  # read: the next crop may be of the same image

    def __getitem__(self, key: _Key) -> _Item | UserError:
        errors: list[UserError] = []
        augment = self._augment.at(key.stage) if hasattr(self._augment, "at") else self._augment
        for index in self._candidates(key):
            try:
                image, label = augment(self._read(index), self._dice(key))
            except UserError as error:
                errors.append(error)
                continue
            return _Item(image, label, index, tuple(map(str, errors)))
        return errors[0]

    def _read(self, index: int) -> Any:
        if getattr(self._augment, "takes_unread", False):
            return read_undecoded(self._dataset, index)
        if getattr(self._augment, "crops_per_image", 1) == 1:
            return self._dataset[index]
        if self._last is None or self._last[0] != index:
            self._last = index, self._dataset[index]
        return self._last[1]

    def _dice(self, key: _Key) -> np.random.Generator:
        further = (key.crop,) if key.crop else ()
        return generator(self._seed, "augment", key.epoch, key.index, *further)

    def _candidates(self, key: _Key) -> Iterator[int]:
        yield key.index
        if self._replacing:
            yield from replacements(self._seed, key.epoch, key.index, len(self._dataset))


class _PlainSamples:
    def __init__(self, dataset: ImageSet, transform: SampleTransform | None) -> None:
        self._dataset, self._transform = dataset, transform

    def __getitem__(self, index: int) -> tuple[int, Sample] | UserError:
        try:
            sample = self._dataset[index]
        except UserError as error:
            return error
        return index, sample if self._transform is None else self._transform(sample)


def _stack(items: list[_Item | UserError]) -> _Stacked | UserError:
    good: list[_Item] = []
    for item in items:
        if isinstance(item, UserError):
            return item
        good.append(item)
    batch = stack([item.image for item in good], [item.label for item in good], [item.index for item in good])
    return _Stacked(batch, [reason for item in good for reason in item.lost])


def stack(images: list[Any], labels: list[Any], index: list[int]) -> Batch:
    """A batch of what an augmentation gave."""
    together = None if labels[0] is None else torch.stack([torch.as_tensor(label) for label in labels])
    if isinstance(images[0], Tensor):
        return Batch(_together(images), together, torch.tensor(index))
    return images[0].batch(images, together, torch.tensor(index))


def _together(images: list[Tensor]) -> Tensor:
    """(B, C, H, W), in memory as the images are: to turn them around takes as long as to resize them.

    `normalise` does it on the device, in its one pass from bytes to numbers.
    """
    pixels = [image.permute(1, 2, 0) for image in images]
    if all(each.is_contiguous() for each in pixels):
        return torch.stack(pixels).permute(0, 3, 1, 2)
    return torch.stack(images)


def _pack(items: list[tuple[int, Sample] | UserError]) -> list[tuple[int, tuple[Any, ...]]] | UserError:
    """Samples as arrays: each tensor would hold a file descriptor on its way to the main process, and those run out."""
    packed: list[tuple[int, tuple[Any, ...]]] = []
    for item in items:
        if isinstance(item, UserError):
            return item
        index, (image, label, name) = item
        packed.append((index, (image.numpy(), label.numpy() if isinstance(label, Tensor) else label, name)))
    return packed


def _unpack(packed: tuple[Any, ...]) -> Sample:
    image, label, name = packed
    return Sample(torch.from_numpy(image), torch.from_numpy(label) if isinstance(label, np.ndarray) else label, name)
