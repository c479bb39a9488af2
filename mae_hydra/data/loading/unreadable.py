"""Training images that cannot be read: another one is taken in their place, they are named, and too many are an error.

The replacement is a function of (seed, epoch, index), so workers, processes and a resumed run agree on it.
"""

import logging
from collections.abc import Iterator, Sequence

from mae_hydra.errors import UserError
from mae_hydra.names import clean
from mae_hydra.seeds import generator

log = logging.getLogger("mae_hydra")

TRIES = 10  # replacements of a sample, should they be unreadable too
FEW = 5  # files that are no sign of anything yet, however few images have been seen


def replacements(seed: int, epoch: int, index: int, size: int) -> Iterator[int]:
    """The samples to try in the place of sample `index` of `size`, in order."""
    yield from generator(seed, "replace", epoch, index).integers(size, size=TRIES).tolist()


class Unreadable:
    """What could not be read since this start; more than the share `most` of the images seen end the training."""

    def __init__(self, most: float) -> None:
        self.most = most
        self._seen = 0
        self._reasons: dict[str, None] = {}

    def note(self, reasons: Sequence[str], images: int) -> None:
        """`reasons` why images were replaced in a batch of so many; each file is named once in the log."""
        self._seen += images
        for reason in map(clean, reasons):  # they name files, by whatever names
            if reason in self._reasons:
                continue
            if not self._reasons:
                print(
                    f"note: {reason}. Another image takes its place; more such files are named in train.log", flush=True
                )
            self._reasons[reason] = None
            log.warning("%s (%d such files so far; another image takes its place)", reason, len(self._reasons))
        count = len(self._reasons)
        if count >= FEW and count > self.most * self._seen:
            first = next(iter(self._reasons))
            raise UserError(
                f"{count} files could not be used among the first {self._seen} training images, more than the "
                f"data.max_bad_share of {self.most:g}; the first: {first}. See train.log for the others, mae-hydra "
                "check-data for all of them"
            )
