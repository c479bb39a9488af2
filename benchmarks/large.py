"""How much memory large pictures take: the class map of a raster, made and written, in a process of its own each.

The model is a stand-in with 150 classes that costs next to nothing, so that what is measured is what happens around
one: windows, sums of logits, resizing, arg max. `python benchmarks/large.py KIND MEGAPIXELS` is one such process.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from mae_hydra.benchmark.results import Measured

KINDS = ("slide", "multiscale_flip", "probabilities")
SIZES = {"slide": (24, 100), "multiscale_flip": (24, 100), "probabilities": (1, 6)}  # megapixels
BLOCK = 512


class StandIn(nn.Module):
    """150 classes by the colours of 4x4 pixels."""

    num_classes = 150

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, self.num_classes, 1)

    def prepare(self, images: Tensor) -> Tensor:
        return images.float() / 255

    def low_resolution_logits(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(avg_pool2d(images, 4))
        return found

    def forward(self, images: Tensor) -> Tensor:
        return interpolate(self.low_resolution_logits(images), size=images.shape[2:], mode="bilinear")


def large(sizes: dict[str, tuple[float, ...]] = SIZES) -> Measured:
    """Peak memory of each kind of inference, at each size in megapixels."""
    table = Table(title="a picture with 150 classes: peak memory of the process", title_justify="left")
    for name in ("inference", "megapixels", "peak, GB", "s"):
        table.add_column(name, justify="left" if name == "inference" else "right")
    numbers: dict[str, Any] = {}
    for kind, megapixels in sizes.items():
        for each in megapixels:
            began = time.time()
            command = [sys.executable, __file__, kind, str(each)]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
            peak = int(told.stdout.split()[-1])
            numbers[f"{kind} {each:g}"] = {"peak_bytes": peak, "seconds": time.time() - began}
            table.add_row(kind, f"{each:g}", f"{peak / 1e9:.2f}", f"{time.time() - began:.0f}")
    return Measured(table, numbers)


def _one(kind: str, megapixels: float, folder: Path) -> None:
    from mae_hydra.inference import MultiscaleFlip, Slide
    from mae_hydra.workflows import rasters
    from mae_hydra.workflows.predict_maps import Segmentations

    side = int((megapixels * 1e6) ** 0.5)
    words: dict[str, Any] = {
        "crop": BLOCK,
        "stride_ratio": 0.6667,
        "short": None,
        "long_ratio": None,
        "window_batch": 1,
    }
    inference = (
        Slide(**words) if kind != "multiscale_flip" else MultiscaleFlip(**words, ratios=[0.5, 1, 1.75], flip=True)
    )
    if kind == "probabilities":
        writer: Any = Segmentations.__new__(Segmentations)
        writer.model, writer.inference = StandIn(), inference
        writer._probabilities(torch.randint(0, 256, (3, side, side), dtype=torch.uint8))
        return
    _write_raster(folder / "a.tif", side)
    with rasters.opened(folder / "a.tif") as raster:
        pixels = rasters.RasterPixels(raster, [1, 2, 3], None, "a.tif")
        maps = rasters.maps_of(inference, StandIn(), pixels)
        rasters.write(folder / "b.tif", rasters.profile_of(raster, 149), maps, np.zeros((150, 3), np.uint8))


def _write_raster(file: Path, side: int) -> None:
    import rasterio
    from rasterio.windows import Window

    form: dict[str, Any] = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": side, "width": side}
    dice = np.random.default_rng(0)
    with rasterio.open(file, "w", **form, transform=rasterio.Affine(30, 0, 440280, 0, -30, 3159720)) as raster:
        for top in range(0, side, BLOCK):
            rows = min(BLOCK, side - top)
            coarse = dice.integers(0, 256, (3, rows, -(-side // 8)), dtype=np.uint8)
            raster.write(coarse.repeat(8, 2)[:, :, :side], window=Window(0, top, side, rows))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        _one(sys.argv[1], float(sys.argv[2]), Path(name))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
