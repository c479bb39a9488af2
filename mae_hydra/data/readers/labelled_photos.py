"""Photos and their class maps as samples: what every set of them has in common, wherever its files lie.

Shape letters: H W pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mae_hydra.data.dataset import Header, Sample, Stored
from mae_hydra.data.decoding.bands import Channels
from mae_hydra.data.decoding.decode import read_bytes, read_image
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.headers import digest_of, image_header, read_header
from mae_hydra.data.labels.coding import Coding
from mae_hydra.data.labels.maps import palette_of
from mae_hydra.data.listing import Names, file_stamp
from mae_hydra.data.readers.contents import contents_of
from mae_hydra.errors import UserError


class LabelledPhotos:
    """An ImageSet of the photos `names` below `images`, each with the map of its place in `map_names` below `maps`.

    `titles`: what a person would call each. Both files are checked when they are read.
    """

    pixel_range: PixelRange | None = None  # of the set, which training pictures tell

    def __init__(
        self,
        images: Path,
        names: Sequence[str],
        maps: Path,
        map_names: Sequence[str],
        titles: Sequence[str],
        channels: Channels,
        coding: Coding,
    ) -> None:
        self._images, self._maps, self._channels = images, maps, channels
        self.names, self._map_names, self._titles = Names(names), Names(map_names), Names(titles)
        self._coding, self._table = coding, coding.reading.table()

    def listing(self) -> str:
        return self.names.digest()

    def name(self, index: int) -> str:
        return self.names[index]

    def stamp(self, index: int) -> str:
        image, classes = self.paths(index)
        return f"{self.names[index]} {file_stamp(image)} {file_stamp(classes)}"

    def contents(self) -> str:
        return contents_of(self.names.digest(), len(self), self.paths)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        image_path, _ = self.paths(index)
        image = read_image(image_path, self._channels, self.pixel_range)
        labels = self.labels(index)
        self._check_sizes(index, (image.shape[1], image.shape[2]), (labels.shape[0], labels.shape[1]))
        return Sample(image, labels, self._titles[index])

    def stored(self, index: int) -> Stored:
        """The file of the image itself."""
        return Stored(self.names[index], read_bytes(self.paths(index)[0]), None)

    def labels(self, index: int) -> torch.Tensor:
        """The class map alone, uint8 (H, W); UserError where a value means nothing."""
        return torch.from_numpy(self._table.classes(self.stored_labels(index), self.paths(index)[1]))

    def header(self, index: int) -> Header:
        image_path, map_path = self.paths(index)
        image, labels = image_header(image_path, self.pixel_range), read_header(map_path)
        self._check_sizes(index, image.size, labels.size)
        return image._replace(mode=labels.mode)

    def digest(self) -> str:
        files = (path.absolute() for index in range(len(self)) for path in self.paths(index))
        table = self._table.accepted.tobytes(), self._table.class_of.tobytes()
        return digest_of(files, self.pixel_range, *table, *self._coding.facts)

    def _check_sizes(self, index: int, image: tuple[int, int], labels: tuple[int, int]) -> None:
        if image != labels:
            image_path, map_path = self.paths(index)
            raise UserError(
                f"the class map {map_path} is {labels[1]}x{labels[0]} pixels but its image {image_path} is "
                f"{image[1]}x{image[0]}; both must have one size"
            )

    def stored_labels(self, index: int) -> np.ndarray:
        """The class map as it is stored, uint8 (H, W); of colours and of numbers above 255 the classes."""
        path = self.paths(index)[1]
        return self._coding.decode(read_bytes(path), str(path)).numpy()

    def palette(self, index: int, values: Sequence[int]) -> dict[int, tuple[int, int, int]]:
        """The colours of these stored values, where the map's file has a palette and its numbers are read."""
        as_numbers = not (self._coding.colours or self._coding.brightness)
        return palette_of(self.paths(index)[1], values) if as_numbers else {}

    def paths(self, index: int) -> tuple[Path, Path]:
        """The files of the image and of its class map."""
        return self._images / self.names[index], self._maps / self._map_names[index]
