"""What a folder looks like as it would be read: samples with their labels, in every reading that is possible."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mae_hydra.data import ImageData, Sample
from mae_hydra.data.dataset import ImageSet, spread
from mae_hydra.errors import UserError
from mae_hydra.evaluation.pictures import CELL, as_rgb, channels_last, segmentation_sheet
from mae_hydra.figures.gallery import gallery
from mae_hydra.figures.style import PAPER

NUM_SAMPLES = 8
SECONDS = 8.0  # from which on no further one is read: pictures may be large


@dataclass(frozen=True)
class View:
    """Some samples as one reading gives them; `means`: how it differs from others."""

    means: str
    samples: Sequence[Sample]
    data: ImageData


def some_of(images: ImageSet) -> list[Sample]:
    """A few, spread over the set; what cannot be read is left out."""
    found: list[Sample] = []
    began = time.monotonic()
    for index in spread(len(images), NUM_SAMPLES):
        try:
            found.append(images[index])
        except UserError:
            continue
        if time.monotonic() - began > SECONDS:
            break
    return found


def draw(views: Sequence[View], name: str) -> np.ndarray:
    """RGB uint8 (H, W, 3): the views one below the other, the likeliest first."""
    if len(views) == 1:
        return _drawn(views[0], views[0].samples, name)
    half = [view.samples[::2] for view in views]
    titles = [f"{number}. {view.means}" for number, view in enumerate(views, 1)]
    return _stacked([_drawn(*each) for each in zip(views, half, titles, strict=True)])


def _drawn(view: View, samples: Sequence[Sample], title: str) -> np.ndarray:
    images = [channels_last(sample.image) for sample in samples]
    if view.data.target == "map":
        maps = [sample.label.numpy() for sample in samples if isinstance(sample.label, Tensor)]
        return segmentation_sheet(images, {"labels": maps}, view.data, title)
    names = view.data.class_names
    captions = [names[sample.label] if isinstance(sample.label, int) else sample.name for sample in samples]
    return gallery([as_rgb(image, view.data.shown) for image in images], captions, columns=4, title=title, cell=CELL)


def _stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    width = max(picture.shape[1] for picture in pictures)
    canvas = np.empty((sum(picture.shape[0] for picture in pictures), width, 3), np.uint8)
    canvas[...] = PAPER
    top = 0
    for picture in pictures:
        canvas[top : top + picture.shape[0], : picture.shape[1]] = picture
        top += picture.shape[0]
    return canvas
