"""Pictures that a command has written, looked into."""

from pathlib import Path

import numpy as np
from PIL import Image


def shows_something(path: Path) -> bool:
    """Whether a picture has more than a background: two colors and more, or curves and marks of an SVG."""
    if path.suffix == ".svg":
        return path.read_text().count("<path") > 10
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return len(np.unique(pixels, axis=0)) > 2
