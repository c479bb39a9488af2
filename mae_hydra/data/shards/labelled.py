"""Samples whose files are bytes within others, of shards and of tables: their images, and their class maps."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_hydra.data.augment.encoded import Unread, undecoded
from mae_hydra.data.dataset import Header, Sample
from mae_hydra.data.decoding.bands import Channels
from mae_hydra.data.decoding.decode import decode_image
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.headers import read_header
from mae_hydra.data.labels.coding import Coding
from mae_hydra.errors import UserError


class Encoded:
    """The images of a set that owes `stored(index)` and `_channels`, what of an image is read."""

    pixel_range: PixelRange | None = None  # of the set, which training pictures tell
    _channels: Channels
    stored: Any

    def __getitem__(self, index: int) -> Sample:
        name, encoded, class_id = self.stored(index)
        return Sample(decode_image(encoded, self._channels, name, self.pixel_range), class_id, name)

    def undecoded(self, index: int) -> Sample | Unread:
        stored = self.stored(index)
        return undecoded(stored, self._channels, stored.name, self.pixel_range)


class Labelled(Encoded):
    """Gives such a set its class maps.

    The set owes `files(index)`, a sample's name, its image and its map (empty: there is none).
    """

    coding: Coding
    files: Any

    def __getitem__(self, index: int) -> Sample:
        name, encoded, _ = self.files(index)
        image, labels = decode_image(encoded, self._channels, name, self.pixel_range), self.labels(index)
        self._check(name, (image.shape[1], image.shape[2]), (labels.shape[0], labels.shape[1]))
        return Sample(image, labels, name)

    def labels(self, index: int) -> Tensor:
        """The class map alone, (H, W); UserError where a value means nothing."""
        name = self.files(index)[0]
        return torch.from_numpy(self.coding.reading.table().classes(self.stored_labels(index), Path(f"of {name}")))

    def stored_labels(self, index: int) -> np.ndarray:
        """The class map as it is stored, (H, W); of colours and of numbers above 255 the classes."""
        name, _, encoded = self.files(index)
        return self.coding.decode(self._there(name, encoded), f"of {name}").numpy()

    def header_beside(self, index: int, image: Header) -> Header:
        """The header of an image with the mode of its map; UserError where the two do not fit."""
        name, _, encoded = self.files(index)
        own = read_header(self._there(name, encoded), f"{name} (its class map)")
        self._check(name, image.size, own.size)
        return image._replace(mode=own.mode)

    @property
    def facts(self) -> str:
        """A digest of how the maps are understood."""
        table = self.coding.reading.table()
        content = (table.accepted.tobytes(), table.class_of.tobytes(), self.coding.facts)
        return hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()

    def _there(self, name: str, encoded: bytes) -> bytes:
        if not encoded:
            raise UserError(f"{name} has no class map; every sample must have one, beside its image")
        return encoded

    def _check(self, name: str, image: tuple[int, int], labels: tuple[int, int]) -> None:
        if image != labels:
            raise UserError(
                f"the class map of {name} is {labels[1]}x{labels[0]} pixels but its image is {image[1]}x{image[0]}; "
                "both must have one size"
            )
