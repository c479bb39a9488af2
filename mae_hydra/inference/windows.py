"""Where the windows of sliding inference lie: pure arithmetic on sizes (height, width) in pixels."""

from collections.abc import Sequence

Size = tuple[int, int]


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows of `crop` pixels begin along one side: every `stride` pixels, the last shifted back to the border.

    A side no longer than the crop has one window, which begins at 0.
    """
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(index * stride, length - crop), 0) for index in range(count)]


def window_corners(size: Size, crop: Size, stride: Size) -> list[Size]:
    """(top, left) of every window, row by row."""
    rows, columns = (window_starts(*side) for side in zip(size, crop, stride, strict=True))
    return [(top, left) for top in rows for left in columns]


def window_counts(length: int, crop: int, stride: int) -> list[int]:
    """How many windows cover each of the `length` positions along one side; over an image the two sides multiply."""
    counts = [0] * length
    for start in window_starts(length, crop, stride):
        for position in range(start, min(start + crop, length)):
            counts[position] += 1
    return counts


def as_size(name: str, value: int | Sequence[int]) -> Size:
    """A side of a square, or [height, width], as (height, width); ValueError names the argument."""
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"{name} must be a number of pixels or [height, width], got {value!r}")
    return sides[0], sides[1]


def as_written(size: Size) -> str:
    """`size` as a configuration has it: 64, or [64,32] for a height and another width."""
    return str(size[0]) if size[0] == size[1] else f"[{size[0]},{size[1]}]"
