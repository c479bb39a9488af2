"""A data set with a class for every pixel: discs and squares on a noisy ground."""

import numpy as np
import torch

from mae_hydra.data import ImageData, Sample, distinct_colours

CLASS_NAMES = ("ground", "disc", "square")


class Shapes:
    """An `ImageSet`: the same position gives the same sample, in every process."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Image uint8 (3, H, W), label uint8 (H, W), and what a person would call it."""
        rng = np.random.default_rng((self.seed, index))
        label = np.zeros((self.size, self.size), np.uint8)
        rows, columns = np.indices(label.shape)
        for kind in (1, 2):
            y, x, radius = (*rng.uniform(0, self.size, 2), rng.uniform(0.1, 0.3) * self.size)
            away = np.hypot(rows - y, columns - x) if kind == 1 else np.maximum(abs(rows - y), abs(columns - x))
            label[away < radius] = kind
        colours = rng.integers(0, 256, (len(CLASS_NAMES), 3))
        image = np.clip(colours[label] + rng.normal(0, 20, (*label.shape, 3)), 0, 255).astype(np.uint8)
        return Sample(torch.from_numpy(image).movedim(2, 0).contiguous(), torch.from_numpy(label), f"shapes_{index}")


def shapes(
    *,
    image_size: int,
    channels: int,
    num_train: int,
    num_validation: int,
    num_classes: int,
    ignore_index: int,
    mean: list[float],
    std: list[float],
    batch_size: int,
    num_workers: int,
) -> ImageData:
    """What a `data` node gives: two splits and the facts about them. Everything else of `ImageData` has a default."""
    return ImageData(
        train=Shapes(num_train, image_size, seed=0),
        validation=Shapes(num_validation, image_size, seed=1),
        image_size=(image_size, image_size),
        channels=channels,
        mean=tuple(mean),
        std=tuple(std),
        num_classes=num_classes,
        class_names=CLASS_NAMES,
        palette=distinct_colours(len(CLASS_NAMES)),
        ignore_index=ignore_index,
        target="map",
        batch_size=batch_size,
        num_workers=num_workers,
    )
