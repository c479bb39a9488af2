"""Class maps in shards: `NAME.map.png` beside `NAME.jpg`, the number of a class a pixel, 255 for what is ignored.

Of more than 255 classes they have 16 bits, and 65535 is ignored.
"""

import io

import numpy as np
from PIL import Image

from mae_hydra.data.dataset import LabelledSet, Stored
from mae_hydra.data.label_table import UNLABELLED
from mae_hydra.data.labels.coding import MOST_STORED
from mae_hydra.data.shards.shrink import StoredSet

MAP = "map.png"  # how the maps that are written end


class WithMaps:
    """The samples of a StoredSet that is a LabelledSet as well, to be written with them.

    What the maps hold is written as it is read: whoever reads the shards needs no word of how the set stores it.
    `palette`: uint8 (C, 3), in which viewers show them.
    """

    def __init__(self, whole: StoredSet, ignore_index: int, palette: np.ndarray) -> None:
        self._whole, self._ignore_index, self.palette = whole, ignore_index, palette

    def __len__(self) -> int:
        return len(self._whole)

    def stored(self, index: int) -> Stored:
        return self._whole.stored(index)

    def encoded_map(self, index: int) -> bytes:
        """A PNG; UserError where the map cannot be read."""
        assert isinstance(self._whole, LabelledSet)
        labels = self._whole.labels(index)
        classes, wide = labels.numpy(), len(self.palette) > UNLABELLED
        kind, ignored = (np.uint16, MOST_STORED) if wide else (np.uint8, UNLABELLED)
        picture = Image.fromarray(np.where(classes == self._ignore_index, ignored, classes).astype(kind))
        if not wide:
            whole = np.zeros((256, 3), np.uint8)  # of fewer colours Pillow would write fewer bits: 255 would be another
            whole[: len(self.palette)] = self.palette
            picture.putpalette(whole.tobytes())
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()
