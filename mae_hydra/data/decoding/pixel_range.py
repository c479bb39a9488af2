"""`data.range`: which stored numbers become 0 and 255, for pictures of more than 8 bits.

What such a file can hold says nothing: 12 bits in 16 would use 16 of 256 grey levels, and of signed numbers half would
be black. So the range is told, or measured once from a spread sample of the training set: its 0.1 and 99.9
percentiles, because one hot pixel or a no-data value would take most levels from all others, and one range for all
channels, because one for each would shift colours. It is part of the run's record: whatever looks at pictures for that
run later uses the same numbers. Pictures of 8 bits stay as they are. Bands that are no photograph hold different
quantities: each has a range of its own, and 65,536 levels of it travel to the model instead of 256.

Shape letters: H W pixels, B bands.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mae_hydra.errors import UserError

AUTO = "auto"
Told = str | Sequence[float] | Sequence[Sequence[float]]
"""`data.range` of a configuration: "auto", [low, high], or such a pair for every channel."""

PIXELS = 2**16  # of each that are counted, spread evenly
OUTSIDE = 0.1  # percent of the pixels on either side that are cut off


class PixelRange(NamedTuple):
    """What becomes 0 and what becomes 255, one number for all channels or one for each; of 16 `bits` 65,535."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    bits: int = 8

    def pairs(self) -> list[list[float]]:
        """As in a record: [[low, high], ...]."""
        return [list(pair) for pair in zip(self.low, self.high, strict=True)]

    def scaled(self, values: np.ndarray, channels: int) -> np.ndarray:
        """Numbers (H, W, B) as uint8 or uint16 (H, W, B), (H, W, `channels`) where B is 1; not-a-number becomes 0."""
        if values.shape[2] < len(self.low):
            values = values.repeat(channels, axis=2)
        exact: Any = values.astype(np.float64 if values.dtype.itemsize > 2 else np.float32)
        low, high = (np.array(each, exact.dtype) for each in (self.low, self.high))
        most = 2**self.bits - 1
        with np.errstate(invalid="ignore", over="ignore"):
            exact = np.rint((exact - low) * most / (high - low))
        return np.nan_to_num(exact, nan=0.0).clip(0, most).astype(np.uint8 if self.bits == 8 else np.uint16)

    def __str__(self) -> str:
        texts = [f"[{low:g}, {high:g}]" if abs(high) < 1e6 else f"[{low}, {high}]" for low, high in self.pairs()]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def checked(told: Told, channels: int) -> PixelRange | None:
    """The range that a configuration tells; None: "auto"."""
    if told == AUTO:
        return None
    given: list[Any] = [] if isinstance(told, str) else list(told)
    pairs = [given] if given and isinstance(given[0], (int, float)) else given
    good = all(isinstance(pair, Sequence) and len(pair) == 2 and pair[0] < pair[1] for pair in pairs)
    if not good or len(pairs) not in (1, channels):
        raise ValueError(
            f"data.range must be auto, [low, high] with low < high, or such a pair for each of {channels} channels, "
            f"got {told}"
        )
    return range_of(pairs)


def range_of(pairs: Sequence[Sequence[float]]) -> PixelRange:
    """The range of pairs [low, high]."""
    return PixelRange(tuple(float(low) for low, _ in pairs), tuple(float(high) for _, high in pairs))


def measured(pictures: Sequence[np.ndarray], *, each: bool = False) -> PixelRange:
    """Of pictures (H, W, B): all numbers together, or of `each` band."""
    if each:
        bands = range(pictures[0].shape[2])
        found = [_measured([picture[:, :, band, None] for picture in pictures]) for band in bands]
        return PixelRange(tuple(one.low[0] for one in found), tuple(one.high[0] for one in found))
    return _measured(pictures)


def _measured(pictures: Sequence[np.ndarray]) -> PixelRange:
    values = np.concatenate([_some(each).reshape(-1) for each in pictures])
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not len(values):
        raise UserError("no picture of the sample holds a number; set data.range=[low, high]")
    low, high = np.percentile(values, [OUTSIDE, 100 - OUTSIDE])
    if low == high:
        low, high = values.min(), values.max()
    if values.dtype.kind != "f":
        low, high = np.floor(low), np.ceil(high)
    if low == high:
        high = low + 1  # a single number: black
    return PixelRange((float(low),), (float(high),))


def num_levels(pictures: Sequence[np.ndarray], pixel_range: PixelRange, channels: int) -> int:
    """How many of 256 grey levels the pictures have in that range."""
    used, pixel_range = np.zeros(256, dtype=bool), pixel_range._replace(bits=8)
    for picture in pictures:
        used[pixel_range.scaled(_some(picture), channels)] = True
    return int(used.sum())


def _some(picture: np.ndarray) -> np.ndarray:
    """Some of its pixels, (n, 1, B)."""
    pixels = picture.reshape(-1, 1, picture.shape[2])
    return pixels[:: max(len(pixels) // PIXELS, 1)]
