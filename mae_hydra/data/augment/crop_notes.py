"""What somebody should know of the sizes of his pictures before they are cut and resized.

Sizes are (H, W) in pixels.
"""

import math
from collections.abc import Sequence

from mae_hydra.data.augment import crops

Sizes = Sequence[tuple[int, int]]

MOST_REDUCTION = 4.0  # of a side; what is smaller than this afterwards is hardly to be seen


def crop_notes(
    sizes: Sizes, target: tuple[int, int], scale: Sequence[float], ratio: Sequence[float], *, clamp: bool
) -> list[str]:
    """Of random resized crops to `target`: pictures too long for them, and such that even small crops are shrunk."""
    notes = []
    aspect = target[1] / target[0]
    long = [size for size in sizes if crops.never_fits(*size, scale, ratio, aspect=aspect)]
    if long and clamp:
        most = max(crops.most_stretched(*size, scale, ratio, aspect=aspect) for size in long)
        notes.append(
            f"note: no crop of {scale[0]:g} of the area in the shape of {_text(target)} fits into {_of(long, sizes)}; "
            f"such crops are cut to the picture and stretched up to {most:.1f} times; augment.clamp=false keeps their "
            "shape, or set data.image_size to that of the pictures"
        )
    elif long:
        notes.append(
            f"note: no crop of {scale[0]:g} of the area in the shape of {_text(target)} fits into {_of(long, sizes)}; "
            "the largest is taken, at a random place; lower augment.scale, or set data.image_size to their shape"
        )
    factors = {size: math.sqrt(scale[0] * size[0] * size[1] / (target[0] * target[1])) for size in sizes}
    large = [size for size in sizes if factors[size] > MOST_REDUCTION]
    if large:
        most = max(factors[size] for size in large)
        notes.append(
            f"note: even the smallest crops are reduced {most:.0f} times for {_of(large, sizes)}; lower augment.scale "
            "to see more of their detail"
        )
    return notes


def reduction_notes(sizes: Sizes, short: int) -> list[str]:
    """Of resizing to a shorter side of `short`: pictures that lose most of their pixels."""
    large = [size for size in sizes if min(size) > MOST_REDUCTION * short]
    if not large:
        return []
    most = max(min(size) for size in large) / short
    return [
        f"note: {_of(large, sizes)} are reduced to a shorter side of {short} pixels, up to {most:.0f} times; "
        "augment.short=<pixels> keeps more, or all with augment.short=null (inference=slide follows it)"
    ]


def _of(some: Sizes, sizes: Sizes) -> str:
    extreme = max(some, key=lambda size: size[0] * size[1])
    return f"{len(some)} of {len(sizes)} pictures looked at ({_text(extreme)})"


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
