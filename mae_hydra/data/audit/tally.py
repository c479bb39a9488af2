"""The looks at all samples of a split, put together: arrays by sample, sums over samples.

Shape letters: S samples looked at, C channels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mae_hydra.data.audit.look import THUMB, Look, Split


class Tally:
    """`positions`: which samples of the split were looked at; all arrays are in their order.

    `sizes`: int32 (S, 2), H and W, 0 where unreadable. `content`, `labels_content`: digests, (S,) of 16 bytes.
    `thumbs`: uint8 (S, 8, 9). `present`: uint8 (S, V / 8), bits, which stored values a class map holds. `class_ids`:
    int64 (S,), -1 where there is none.
    `stored`: int64 (V,), pixels of each stored value. `problems`: kind -> [(row, words)]. `traits`: trait -> rows.
    """

    def __init__(self, split: Split, positions: Sequence[int], channels: int, values: int = 256) -> None:
        count = len(positions)
        self.split, self.positions = split, positions
        self.sizes = np.zeros((count, 2), np.int32)
        self.content = np.zeros(count, "V16")
        self.labels_content = np.zeros(count, "V16")
        self.thumbs = np.zeros((count, *THUMB), np.uint8)
        self.present = np.zeros((count, -(-values // 8)), np.uint8)  # packed bits
        self.class_ids = np.full(count, -1, np.int64)
        self.stored = np.zeros(values, np.int64)
        self.problems: dict[str, list[tuple[int, str]]] = {}
        self.traits: dict[str, list[int]] = {}
        self._num_pixels, self._total, self._squares = 0, np.zeros(channels), np.zeros(channels)

    def add(self, row: int, look: Look) -> None:
        for kind, words in look.problems.items():
            self.problems.setdefault(kind, []).append((row, words))
        for trait in look.traits:
            self.traits.setdefault(trait, []).append(row)
        if look.pixels is not None:
            self.sizes[row] = look.pixels.size
            self.content[row] = np.void(look.pixels.content)
            self.thumbs[row] = look.pixels.thumb
            self._num_pixels += look.pixels.size[0] * look.pixels.size[1]
            self._total += look.pixels.total
            self._squares += look.pixels.squares
        if look.labels is not None:
            counts = np.pad(look.labels.stored, (0, len(self.stored) - len(look.labels.stored)))
            self.present[row] = np.packbits(counts > 0)
            self.labels_content[row] = np.void(look.labels.content)
            self.stored += counts
        if look.class_id is not None:
            self.class_ids[row] = look.class_id

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, row: int) -> str:
        return self.split.name(self.positions[row])

    def labels_name(self, row: int) -> str:
        return self.split.labels_name(self.positions[row])

    @property
    def readable(self) -> np.ndarray:
        """Rows, int64, of the samples whose image could be read."""
        return np.flatnonzero(self.sizes[:, 0])

    @property
    def mapped(self) -> np.ndarray:
        """Rows, int64, of the samples whose class map could be read."""
        return np.flatnonzero(self.present.any(1))

    @property
    def whole(self) -> bool:
        """Whether nothing of the split was left out."""
        return len(self) == len(self.split)

    def holds(self, values: np.ndarray) -> np.ndarray:
        """bool (S,): whether a class map holds any of the stored values that `values`, bool (V,), marks."""
        return np.any(self.present & np.packbits(values), axis=1)

    def images_with(self) -> np.ndarray:
        """int64 (V,): how many class maps hold each stored value."""
        count = len(self.stored)
        parts = np.array_split(self.present, 64)
        return np.sum([np.unpackbits(part, axis=1, count=count).sum(0) for part in parts], axis=0)

    def statistics(self) -> tuple[list[float], list[float]] | None:
        """Mean and deviation of each channel over all pixels, in units of 0..1; None where nothing could be read."""
        if not self._num_pixels:
            return None
        mean = self._total / self._num_pixels
        variance = np.maximum(self._squares / self._num_pixels - mean**2, 0)
        return (mean / 255).tolist(), (np.sqrt(variance) / 255).tolist()

    def facts(self, crop: tuple[int, int]) -> dict[str, Any]:
        """Sizes, traits and the like, for tables and JSON."""
        sizes = self.sizes[self.readable]
        facts: dict[str, Any] = {"images": len(self.split), "looked_at": len(self), "readable": len(sizes)}
        if len(sizes):
            height, width = sizes[:, 0], sizes[:, 1]
            facts |= {
                "height": _spread(height),
                "width": _spread(width),
                "short_side": _spread(sizes.min(1)),
                "aspect": _spread(width / height),
                "smaller_than_crop": int(((height < crop[0]) | (width < crop[1])).sum()),
                "sizes": len(np.unique(sizes, axis=0)),
            }
        return facts | {"traits": {trait: len(rows) for trait, rows in sorted(self.traits.items())}}


def _spread(values: np.ndarray) -> dict[str, float]:
    return {
        name: round(float(value), 4)
        for name, value in (("min", values.min()), ("median", np.median(values)), ("max", values.max()))
    }
