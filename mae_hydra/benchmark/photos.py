"""Photos to decode, made up: smooth colours with grain, as large as files of their size usually are."""

import io

import numpy as np
from PIL import Image

from mae_hydra.data.augment.encoded import Unread, undecoded
from mae_hydra.data.dataset import Sample, Stored
from mae_hydra.data.decoding.decode import decode_image


def photo_files(size: tuple[int, int], count: int) -> list[bytes]:
    """`count` JPEGs of (H, W) `size`, quality 90, from a fixed seed: 69 kB at 375x500."""
    dice = np.random.default_rng(0)
    height, width = size
    files = []
    for _ in range(count):
        coarse = Image.fromarray(dice.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = dice.normal(0, 8, (height, width, 3)).astype(np.float32)
        file = io.BytesIO()
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


class Files:
    """Encoded images in memory (an ImageSet)."""

    def __init__(self, encoded: list[bytes]) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> Sample:
        return Sample(decode_image(self._encoded[index], 3, str(index)), None, str(index))

    def stored(self, index: int) -> Stored:
        return Stored(f"{index}.jpg", self._encoded[index], None)

    def undecoded(self, index: int) -> Sample | Unread:
        return undecoded(self.stored(index), 3, str(index))
