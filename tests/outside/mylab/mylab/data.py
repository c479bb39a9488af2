"""A data set with a class for every pixel: discs and squares on a noisy ground."""

import numpy as np
import torch

from mae_hydra.data import ImageData, Sample, Settings, data_factory, height_width

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


@data_factory
def shapes(settings: Settings, *, num_train: int, num_validation: int) -> ImageData:
    """What a `data` node gives: two splits and the facts about them. The settings are what every set is told."""
    size = height_width(settings.image_size)[0]
    return settings.image_data(
        Shapes(num_train, size, seed=0), Shapes(num_validation, size, seed=1), "map", class_names=CLASS_NAMES
    )
