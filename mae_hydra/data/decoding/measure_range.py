"""The range of a set of pictures of more than 8 bits: told, or measured from a sample of its training pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mae_hydra.data.decoding.bands import Channels, by_bands, number_of
from mae_hydra.data.decoding.decode import deep_values, read_bytes
from mae_hydra.data.decoding.pixel_range import PixelRange, Told, checked, measured, num_levels
from mae_hydra.data.listing import JPEG_ENDINGS
from mae_hydra.errors import UserError
from mae_hydra.seeds import generator

SAMPLE = 64  # pictures that are looked at
MOST_BYTES = 2**29  # of them together, but for the first four
FEWEST_LEVELS = 32  # of 256; fewer are a warning


@dataclass(frozen=True)
class Settled:
    """The range that holds for a set (None: no picture that was looked at needs one), and what to say about it."""

    pixel_range: PixelRange | None
    notes: tuple[str, ...] = ()


def settle_files(
    told: Told,
    channels: Channels,
    root: Path,
    names: Sequence[str],
    *,
    told_by: str = "data.range",
    bits: int | None = None,
) -> Settled:
    """`settle` for files; those that are JPEGs by their ending need not be opened."""
    able = [name for name in names if not name.lower().endswith(JPEG_ENDINGS)]

    def encoded(position: int) -> bytes:
        return read_bytes(root / able[position])

    return settle(told, channels, len(able), encoded, told_by=told_by, bits=bits)


def settle(
    told: Told,
    channels: Channels,
    size: int,
    encoded: Callable[[int], bytes],
    *,
    told_by: str = "data.range",
    bits: int | None = None,
) -> Settled:
    """`told`, or measured from a sample of `size` pictures, of which `encoded` gives the bytes.

    `told_by`: where `told` comes from, in words. `bits`: in which the pictures travel, 8 or 16 (None: 16 for bands that
    are no photograph).
    The sample is a function of `size` and of the files, so that it is the same in every process and at every start.
    """
    own, count = by_bands(channels), number_of(channels)
    bits = bits or (16 if own else 8)
    fixed = checked(told, count)
    fixed = fixed and fixed._replace(bits=bits)
    seen = [values for content in _sample(size, encoded) if (values := deep_values(content, channels)) is not None]
    pictures = [values for values in seen if values.dtype != np.uint8]
    if not pictures:
        return Settled(fixed)
    if fixed is None:
        _refuse_fractions_beside_whole_numbers(pictures)
    found = fixed or measured(pictures, each=own)._replace(bits=bits)
    looked = f"{len(pictures)} picture{'' if len(pictures) == 1 else 's'}"
    origin = told_by if fixed else f"measured from {looked}; set data.range for another range"
    notes = [f"note: pictures of more than 8 bits a channel: {found} becomes 0 to {2**bits - 1} ({origin})"]
    if narrow := len(seen) - len(pictures):
        notes.append(
            f"warning: {narrow} of {len(seen)} pictures looked at have 8 bits, of which 0 to 255 is the range, and the "
            f"others {found}; if both hold the same quantity, write them alike"
        )
    levels = num_levels(pictures, found, count)
    if levels < FEWEST_LEVELS:
        holds = f"they hold about {measured(pictures, each=own)}, which data.range should be"
        way = holds if fixed else "if one value stretches the range, set data.range to what the others hold"
        said = f"warning: only {levels} of 256 gray levels are used with data.range={found}, of {looked} looked at"
        notes.append(f"{said}; {way}")
    return Settled(found, tuple(notes))


def _refuse_fractions_beside_whole_numbers(pictures: Sequence[np.ndarray]) -> None:
    """UserError for what is no one quantity: reflectances of 0 to 1 would be black beside those of 0 to 10,000."""
    with np.errstate(invalid="ignore"):  # of infinity there is no remainder
        fractions = [bool((values[::8, ::8] % 1 > 0).any()) for values in pictures]
    floating = sum(fractions)
    if 0 < floating < len(pictures):
        raise UserError(
            f"of {len(pictures)} pictures that were looked at {floating} {'holds' if floating == 1 else 'hold'} "
            f"fractions ({_extent(pictures, fractions, True)}) and the others whole numbers "
            f"({_extent(pictures, fractions, False)}), for which no range measured from both is right; write them "
            "alike, or set data.range to [low, high] if one range holds for all"
        )


def _extent(pictures: Sequence[np.ndarray], fractions: Sequence[bool], wanted: bool) -> str:
    """Of the pictures that hold fractions or not."""
    chosen = (values for values, each in zip(pictures, fractions, strict=True) if each == wanted)
    found = measured([values.reshape(-1, 1, 1) for values in chosen])
    return f"about {found.low[0]:g} to {found.high[0]:g}"


def _sample(size: int, encoded: Callable[[int], bytes]) -> Iterator[bytes]:
    """Spread over the set, in a mixed order, so that the limit of bytes does not cut off its end."""
    count = min(size, SAMPLE)
    total = 0
    for done, place in enumerate(generator(0, "range", size).permutation(count).tolist()):
        try:
            content = encoded(place * size // count)
        except UserError:  # it is named when it is its turn
            continue
        total += len(content)
        if total > MOST_BYTES and done >= 4:
            return
        yield content
