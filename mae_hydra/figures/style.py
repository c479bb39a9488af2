"""One look for all figures: ink, paper and fonts. Without matplotlib, which takes a second to import."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path

from PIL import ImageFont

PAPER = (255, 255, 255)
INK = (31, 36, 48)
QUIET_INK = (102, 110, 124)
HAIRLINE = (226, 229, 234)
FRAME = (208, 212, 219)

SERIES_COLOURS = ("#2563eb", "#e8590c", "#0b9e72", "#9c36b5", "#d69e00", "#0e8fb3", "#d6336c", "#6b7280")
"""Line and bar colours, in the order they are given out; neighbours stay apart for colour-blind eyes and in grey."""

MEANT = {"pre-trained": SERIES_COLOURS[0], "from scratch": SERIES_COLOURS[1]}
"""What has the same colour in every figure."""

RAMP = ("#ffffff", "#bfd4f6", "#2563eb", "#0b2a6b")
"""From nothing to most, evenly spaced."""


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along, so that sheets and plots agree on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    # str: Pillow before 10.2 takes no Path
    return ImageFont.truetype(str(_data_folder("matplotlib") / "mpl-data" / "fonts" / "ttf" / name), size)


def _data_folder(package: str) -> Path:
    """Where a package lies, without importing it."""
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def css(rgb: Sequence[int]) -> str:
    """(31, 36, 48) -> "#1f2430"."""
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in rgb))


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Give each name its colour: the one that it has everywhere (`MEANT`), else the next that is free."""
    names = list(dict.fromkeys(names))
    taken = {MEANT[name] for name in names if name in MEANT}
    free = cycle(colour for colour in SERIES_COLOURS if colour not in taken)
    return {name: MEANT[name] if name in MEANT else next(free) for name in names}
