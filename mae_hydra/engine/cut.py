"""How one step's batch is cut: over processes, and over the micro-batches that a device can take."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """A step is `accumulate` micro-batches of `micro_batch` images in each of `world_size` processes."""

    micro_batch: int
    accumulate: int
    world_size: int


def cut_batch(global_batch: int, batch_size: int, world_size: int) -> Cut:
    """Derive the micro-batches of `global_batch` images per step, where a device takes at most `batch_size` at a time.

    As few equal micro-batches as possible. What does not come out even is a ValueError that names values which do.
    """
    for name, value in (("global_batch", global_batch), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    per_process, left = divmod(global_batch, world_size)
    if left:
        nearest = " or ".join(str(n * world_size) for n in (per_process, per_process + 1) if n > 0)
        raise ValueError(
            f"global_batch {global_batch} is not a multiple of the {world_size} processes; nearest: {nearest}"
        )
    accumulate = math.ceil(per_process / batch_size)
    if per_process % accumulate:
        sizes = [size for size in range(1, per_process + 1) if per_process % size == 0]
        smaller, larger = max(s for s in sizes if s <= batch_size), min(s for s in sizes if s > batch_size)
        even = [n * world_size for n in range(1, 2 * per_process) if n % math.ceil(n / batch_size) == 0]
        below, above = max(n for n in even if n < global_batch), min(n for n in even if n > global_batch)
        raise ValueError(
            f"global_batch {global_batch} is {per_process} images in each of {world_size} process(es), which cannot be "
            f"cut into {accumulate} equal micro-batches of at most batch_size {batch_size}; "
            f"nearest: batch_size {smaller} or {larger}, or global_batch {below} or {above}"
        )
    return Cut(per_process // accumulate, accumulate, world_size)
