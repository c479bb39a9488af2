"""`data=folder`: any tree of photos, without labels."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_hydra.data.augment.encoded import Unread, undecoded
from mae_hydra.data.dataset import Header, ImageData, Sample, Stored
from mae_hydra.data.decoding.bands import Channels, endings_of
from mae_hydra.data.decoding.decode import read_bytes, read_image
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.headers import digest_of, image_header
from mae_hydra.data.labels.recognise import label_like_note
from mae_hydra.data.listing import EXTENSIONS, Names, existing_folder, file_stamp, find_images, passed_over_note
from mae_hydra.data.readers.contents import contents_of
from mae_hydra.data.settings import FileSettings, data_factory
from mae_hydra.errors import UserError

_WANTED = (
    f"give a folder of photos ({' '.join(EXTENSIONS)}; subfolders are searched) with data.root=<folder>, "
    "or use data=scenes, which needs no files"
)


class Photos:
    """Image files as samples (an ImageSet), with a class id each where `class_ids` is given."""

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        channels: Channels,
        class_ids: np.ndarray | None = None,
        pixel_range: PixelRange | None = None,
    ) -> None:
        self._root, self._names, self._channels, self._class_ids = root, Names(names), channels, class_ids
        self._range = pixel_range

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        name = self._names[index]
        return Sample(read_image(self._root / name, self._channels, self._range), self.class_id(index), name)

    def class_id(self, index: int) -> int | None:
        """Of a sample, without its file; None where there are no classes."""
        return None if self._class_ids is None else int(self._class_ids[index])

    def undecoded(self, index: int) -> Sample | Unread:
        return undecoded(self.stored(index), self._channels, str(self._root / self._names[index]), self._range)

    def header(self, index: int) -> Header:
        return image_header(self._root / self._names[index], self._range)

    def digest(self) -> str:
        return digest_of((self._root.absolute() / name for name in self._names), self._range)

    def listing(self) -> str:
        return self._names.digest()

    def name(self, index: int) -> str:
        return self._names[index]

    def stamp(self, index: int) -> str:
        return f"{self._names[index]} {file_stamp(self._root / self._names[index])} {self.class_id(index)}"

    def contents(self) -> str:
        return contents_of(self._names.digest(), len(self), lambda index: [self._root / self._names[index]])

    def stored(self, index: int) -> Stored:
        """The file itself, and its class id where there are classes."""
        name = self._names[index]
        return Stored(name, read_bytes(self._root / name), self.class_id(index))


@data_factory
def folder(settings: FileSettings, *, root: str | None, validation_fraction: float) -> ImageData:
    """Every photo below `root`, a fixed share of which is held out for validation.

    The share is chosen by the names alone (`split_by_name`), so it is the same in every run. A single photo serves both
    splits. `num_classes` can only be 0: photos have no labels.
    """
    if settings.num_classes != 0:
        told = settings.num_classes
        raise ValueError(f"data.num_classes must be 0 for data=folder, whose photos have no labels, got {told}")
    if not 0 < validation_fraction < 1:
        raise ValueError(f"data.validation_fraction must lie in (0, 1), got {validation_fraction}")
    path = existing_folder(root, _WANTED)
    passed_over: Counter[str] = Counter()
    names = find_images(path, endings_of(settings.wanted), passed_over)
    if not names:
        there = ": ".join(passed_over_note(path, passed_over)).partition(": ")[2]
        raise UserError(f"there is no photo in data.root={root}; {_WANTED}" + (f" ({there})" if there else ""))
    train, validation = split_by_name(names, validation_fraction)
    settled = settings.settled(path, train)

    def photos(names: Sequence[str]) -> Photos:
        return Photos(path, names, settings.wanted, pixel_range=settled.pixel_range)

    return settings.image_data(
        photos(train),
        photos(validation),
        "none",
        pixel_range=settled.pixel_range,
        notes=(*passed_over_note(root, passed_over), *settled.notes, *label_like_note(path, names)),
    )


def split_by_name(names: Sequence[str], fraction: float) -> tuple[list[str], list[str]]:
    """(train, validation): the `fraction` of the names with the smallest hash is held out, at least one and never all.

    A hash spreads the held-out photos over all folders, and few of them change sides when photos are added.
    """
    if len(names) == 1:
        return list(names), list(names)
    hashes = [hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest() for name in names]
    count = min(max(round(len(names) * fraction), 1), len(names) - 1)
    held_out = set(sorted(range(len(names)), key=hashes.__getitem__)[:count])
    train = [name for position, name in enumerate(names) if position not in held_out]
    return train, [names[position] for position in sorted(held_out)]
