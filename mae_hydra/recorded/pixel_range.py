"""`data.range` of a trained model: what was measured of its training set holds for whatever it looks at later."""

import math
from collections.abc import Mapping
from typing import Any

from mae_hydra.data.decoding.pixel_range import AUTO, PixelRange, range_of
from mae_hydra.errors import UserError, short


def recorded_range(meta: Mapping[str, Any], name: object = "the checkpoint") -> PixelRange | None:
    """Read the range of the pictures that a checkpoint's model was trained on; None: it records none.

    UserError where the record is no range; `name`: what the file is called there.
    """
    origin = meta.get("origin")
    of_data = origin.get("data") if isinstance(origin, Mapping) else None
    pairs = of_data.get("range") if isinstance(of_data, Mapping) else None
    if pairs is None:
        return None
    good = isinstance(pairs, list) and bool(pairs) and all(map(_is_pair, pairs))
    if not good:
        raise UserError(
            f"the record of data.range in {name} is damaged ({short(repr(pairs))}); use another checkpoint of the run"
        )
    return range_of(pairs)


def _is_pair(pair: Any) -> bool:
    """Whether it is [low, high], as of a range."""
    numbers = isinstance(pair, list | tuple) and all(type(number) in (int, float) for number in pair)
    return numbers and len(pair) == 2 and -math.inf < pair[0] < pair[1] < math.inf


def use_recorded_range(data: dict[str, Any], meta: Mapping[str, Any], name: object = "the checkpoint") -> None:
    """Use the recorded range in the place of another measurement; one that the node of the data tells stays."""
    measured = recorded_range(meta, name)
    if measured is not None and data.get("range") == AUTO:
        data["range"] = measured.pairs()
