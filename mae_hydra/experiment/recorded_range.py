"""`data.range` of a trained model: what was measured of its training set holds for whatever it looks at later."""

from collections.abc import Mapping
from typing import Any

from mae_hydra.data.pixel_range import AUTO, PixelRange


def recorded_range(meta: Mapping[str, Any]) -> PixelRange | None:
    """Of the pictures of more than 8 bits that a checkpoint's model was trained on; None: it knows of none."""
    origin = meta.get("origin")
    of_data = origin.get("data") if isinstance(origin, Mapping) else None
    pairs = of_data.get("range") if isinstance(of_data, Mapping) else None
    if not isinstance(pairs, list):
        return None
    return PixelRange(*(tuple(float(pair[side]) for pair in pairs) for side in (0, 1)))


def use_recorded_range(data: dict[str, Any], meta: Mapping[str, Any]) -> None:
    """In the place of another measurement; a range that the node of the data tells stays."""
    found = recorded_range(meta)
    if found is not None and data.get("range") == AUTO:
        data["range"] = found.pairs()
