"""The validation images an evaluator looks at: which, in which batches, on which process."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from mae_hydra.data import EvalStream, ImageData, Sample
from mae_hydra.data.dataset import SampleTransform, check_loading, spread, stamp_of
from mae_hydra.distributed import rank, world_size
from mae_hydra.errors import UserError

Samples = list[tuple[int, Sample]]


class HeldOut:
    """`limit` images of the validation set (null: all), evenly spread: of a sorted set the first would be of one class.

    `pictures` are `num_pictures` of them, evenly spread as well. `watch`, where set, is given this process's batches
    and how many images they hold, and gives them on: a progress bar.
    """

    def __init__(
        self,
        data: ImageData,
        transform: SampleTransform | None,
        *,
        batch_size: int,
        num_workers: int,
        num_pictures: int,
        limit: int | None,
    ) -> None:
        check_loading(batch_size, num_workers)
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be a number of images from 1, or null for all, got {limit}")
        if num_pictures < 0:
            raise ValueError(f"num_pictures must not be negative, got {num_pictures}")
        if len(data.validation) == 0:
            raise UserError("the validation set holds no image; give it some, or train without: evaluation=none")
        self._images, self._transform = data.validation, transform
        self.indices = spread(len(data.validation), limit)
        self._picture_indices = [self.indices[number] for number in spread(len(self.indices), num_pictures)]
        self._batch_size, self._num_workers = batch_size, num_workers
        self.watch: Callable[[Iterable[Samples], int], Iterator[Samples]] | None = None

    def batches(self) -> Iterator[Samples]:
        """This process's share as lists of (index, sample); all processes together see each image once."""
        stream = EvalStream(
            self._images,
            self._transform,
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            rank=rank(),
            world_size=world_size(),
            indices=self.indices,
        )
        return iter(stream) if self.watch is None else self.watch(stream, len(self.indices[rank() :: world_size()]))

    def stamps(self) -> list[str]:
        """What changes with each of the images (see `stamp_of`), in the order of `indices`; none occurs twice."""
        stamps = [stamp_of(self._images, index) for index in self.indices]
        times: Counter[str] = Counter()
        for position, stamp in enumerate(stamps):
            times[stamp] += 1
            stamps[position] = stamp if times[stamp] == 1 else f"{stamp} again {times[stamp]}"
        return stamps

    def example_size(self) -> tuple[int, int]:
        """(height, width) of the first image."""
        sample = self._images[self.indices[0]]
        image = (sample if self._transform is None else self._transform(sample)).image
        return image.shape[1], image.shape[2]

    def pictures(self) -> list[tuple[int, Sample]]:
        """The images to be shown, the same ones at every evaluation."""
        samples = [(index, self._images[index]) for index in self._picture_indices]
        return samples if self._transform is None else [(index, self._transform(sample)) for index, sample in samples]
