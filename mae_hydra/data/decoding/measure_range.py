"""The range of a set of pictures of more than 8 bits: told, or measured from a sample of its training pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    pictures = [values for content in _sample(size, encoded) if (values := deep_values(content, channels)) is not None]
    if not pictures:
        return Settled(fixed)
    found = fixed or measured(pictures, each=own)._replace(bits=bits)
    looked = f"{len(pictures)} picture{'' if len(pictures) == 1 else 's'}"
    origin = told_by if fixed else f"measured from {looked}; set data.range for another range"
    notes = [f"note: pictures of more than 8 bits a channel: {found} becomes 0 to {2**bits - 1} ({origin})"]
    levels = num_levels(pictures, found, count)
    if levels < FEWEST_LEVELS:
        holds = f"they hold about {measured(pictures, each=own)}, which data.range should be"
        way = holds if fixed else "if one value stretches the range, set data.range to what the others hold"
        said = f"warning: only {levels} of 256 grey levels are used with data.range={found}, of {looked} looked at"
        notes.append(f"{said}; {way}")
    return Settled(found, tuple(notes))


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
