"""Pictures and small sets of them for the tests of this room."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mae_hydra.data import Sample


def smooth_picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Coarse colour noise blown up: something a JPEG keeps nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def save(picture: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def pixels(picture: Image.Image) -> torch.Tensor:
    """A Pillow picture as uint8 (C, H, W)."""
    values = np.array(picture)
    return torch.from_numpy(values.reshape(*values.shape[:2], -1)).permute(2, 0, 1)


class ListSet:
    """Samples from a list (an ImageSet)."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def labelled_set(count: int, num_classes: int, height: int = 24, width: int = 32, seed: int = 0) -> ListSet:
    """Smooth images with blocky class maps, some pixels of which are ignored (255)."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        labels = np.kron(rng.integers(0, num_classes, (3, 4)), np.ones((height // 3, width // 4))).astype(np.uint8)
        labels[:2] = 255
        image = pixels(smooth_picture(height, width, seed=1000 * seed + number))
        samples.append(Sample(image, torch.from_numpy(labels), f"picture_{number:03d}"))
    return ListSet(samples)
