"""Class maps as something to look at: colours, blends with the image, boundaries, and who is who.

`labels` is a class map uint8 or uint16 (H, W); whatever is no class of the palette (the ignore index above all) is
drawn as grey hatching.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

HATCH_LIGHT = (244, 244, 246)
HATCH_DARK = (176, 180, 188)
HATCH_PERIOD = 10


class LegendEntry(NamedTuple):
    """A name and its colour; `colour` None stands for the hatching of ignored pixels."""

    name: str
    colour: Sequence[int] | None


def hatching(height: int, width: int) -> np.ndarray:
    """Diagonal grey stripes (H, W, 3): "this is no class"."""
    diagonal = np.add.outer(np.arange(height), np.arange(width)) % HATCH_PERIOD
    return np.where((diagonal < 3)[..., None], HATCH_DARK, HATCH_LIGHT).astype(np.uint8)


def colour_classes(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """RGB uint8 (H, W, 3) of a class map; `palette` is uint8 (C, 3)."""
    table = np.concatenate([palette, np.zeros((1, 3), np.uint8)])
    colours = table[np.minimum(labels, len(palette))]
    return np.where((labels < len(palette))[..., None], colours, hatching(*labels.shape))


def find_boundaries(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Bool (H, W): True where the pixel to the right or below is of another class; what is no class has none."""
    edges = np.zeros(labels.shape, bool)
    is_class = labels < num_classes
    edges[:, :-1] |= (labels[:, :-1] != labels[:, 1:]) & is_class[:, :-1] & is_class[:, 1:]
    edges[:-1, :] |= (labels[:-1, :] != labels[1:, :]) & is_class[:-1, :] & is_class[1:, :]
    return edges


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: np.ndarray, *, opacity: float, boundaries: bool
) -> np.ndarray:
    """Class colours over a grey version of the image, RGB uint8 (H, W, 3).

    The image keeps its light and shade but not its hues, so that a colour in the picture is always a class.
    """
    shade = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    blend = opacity * colour_classes(labels, palette).astype(np.float32) + (1 - opacity) * shade[..., None]
    if boundaries:
        blend[find_boundaries(labels, len(palette))] *= 0.35
    return blend.round().clip(0, 255).astype(np.uint8)


def legend_of(
    maps: Sequence[np.ndarray], class_names: Sequence[str], palette: np.ndarray, *, most: int = 24
) -> list[LegendEntry]:
    """The classes present in `maps`, in class order; of more than `most` the largest stay, and the rest are counted."""
    size = max([256, len(class_names), *(int(labels.max(initial=0)) + 1 for labels in maps)])
    area = np.sum([np.bincount(labels.ravel(), minlength=size) for labels in maps], axis=0)
    present = [index for index in range(len(class_names)) if area[index] > 0]
    shown = sorted(sorted(present, key=lambda index: -area[index])[:most])
    entries = [LegendEntry(class_names[index], palette[index].tolist()) for index in shown]
    if len(present) > len(shown):
        entries.append(LegendEntry(f"and {len(present) - len(shown)} more", (255, 255, 255)))
    if area[len(class_names) :].sum() > 0:
        entries.append(LegendEntry("ignored", None))
    return entries
