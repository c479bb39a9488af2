"""How much memory large pictures take: the class map of a raster, made and written, in a process of its own each.

The model is a stand-in with 150 classes that costs next to nothing, so that what is measured is what happens around
one: windows, sums of logits, resizing, arg max. Of `predict` it is the command itself, with a trained run of a very
small UPerNet, 5 classes, and a tiled GeoTIFF of 4 bands and 16 bits. `python benchmarks/large.py KIND MEGAPIXELS` is
one such process; a third word is how many rows of the raster are made, for memory only depends on its columns.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from mae_hydra.benchmark.results import Measured

SIZES = {"slide": (24, 100), "multiscale_flip": (24, 100), "probabilities": (1, 6), "predict": (17, 100)}  # megapixels
BLOCK = 512
SMALL = [  # a model that costs little, trained for a few steps
    "model=upernet_vitt", "data=segmentation", "data.root=set", "data.images=images", "data.maps=masks", "+debug=smoke",
    "data.num_classes=5", "data.channels=4", "data.bands=[1,2,3,4]", "data.mean=[0.5,0.5,0.5,0.5]",
    "data.std=[0.3,0.3,0.3,0.3]", "data.image_size=256", "data.num_workers=0", "inference=slide", "engine=cpu",
    "backbone.embed_dim=32", "backbone.depth=4", "backbone.num_heads=2", "backbone.out_indices=[0,1,2,3]",
    "head.channels=16", "hydra.run.dir=run",
]  # fmt: skip


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


def large(sizes: Mapping[str, tuple[float, ...]] = SIZES) -> Measured:
    """Peak memory and processor time of each kind of inference, at each size in megapixels."""
    table = Table(title="a picture with 150 classes: peak memory of the process", title_justify="left")
    for name in ("inference", "megapixels", "peak, GB", "processor s"):
        table.add_column(name, justify="left" if name == "inference" else "right")
    numbers: dict[str, Any] = {}
    for kind, megapixels in sizes.items():
        for each in megapixels:
            command = [sys.executable, __file__, kind, str(each)]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
            peak, seconds = map(float, told.stdout.split()[-2:])
            numbers[f"{kind} {each:g}"] = {"peak_bytes": int(peak), "processor_seconds": seconds}
            table.add_row(kind, f"{each:g}", f"{peak / 1e9:.2f}", f"{seconds:.0f}")
    return Measured(table, numbers)


def _one(kind: str, megapixels: float, folder: Path, rows: int | None = None) -> None:
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
        Slide(**words)
        if kind != "multiscale_flip"
        else MultiscaleFlip(**words, ratios=[0.5, 0.75, 1, 1.25, 1.5, 1.75], flip=True)
    )
    if kind == "probabilities":
        writer: Any = Segmentations.__new__(Segmentations)
        writer.model, writer.inference = StandIn(), inference
        writer._probabilities(torch.randint(0, 256, (3, side, side), dtype=torch.uint8))
        return
    _write_raster(folder / "a.tif", side, height=rows or side)
    with rasters.opened(folder / "a.tif") as raster:
        pixels = rasters.RasterPixels(raster, [1, 2, 3], None, "a.tif")
        maps = rasters.maps_of(inference, StandIn(), pixels)
        rasters.write(folder / "b.tif", rasters.profile_of(raster, 149), maps, np.zeros((150, 3), np.uint8))


def _predicted(megapixels: float, folder: Path) -> resource.struct_rusage:
    """What the command has used of processor and memory, and nothing that came before it."""
    work = [sys.executable, "-m", "mae_hydra"]
    for number in range(4):
        _write_raster(folder / f"set/images/{number}.tif", 256, count=4, dtype="uint16")
        (folder / "set/masks").mkdir(exist_ok=True)
        classes = np.random.default_rng(number).integers(0, 5, (8, 8), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
        Image.fromarray(classes).save(folder / f"set/masks/{number}.png")
    house = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([*work, "train", *SMALL], cwd=folder, env=house, check=True, stdout=subprocess.DEVNULL)
    _write_raster(folder / "large.tif", int((megapixels * 1e6) ** 0.5), count=4, dtype="uint16")
    words = ["predict", "run", "large.tif", "--out", "maps"]
    process = subprocess.Popen([*work, *words], cwd=folder, env=house, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status or not (folder / "maps/labels/large.tif").is_file():
        raise RuntimeError(f"predict ended with {os.waitstatus_to_exitcode(status)}")
    return used


def _write_raster(file: Path, side: int, **other: Any) -> None:
    """Coarse noise, in tiles."""
    import rasterio
    from rasterio.windows import Window

    file.parent.mkdir(parents=True, exist_ok=True)
    form: dict[str, Any] = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": side, "width": side, **other}
    if side > BLOCK:
        form |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    dice, height = np.random.default_rng(0), form["height"]
    with rasterio.open(file, "w", **form, transform=rasterio.Affine(30, 0, 440280, 0, -30, 3159720)) as raster:
        for top in range(0, height, BLOCK):
            rows = min(BLOCK, height - top)
            most = np.iinfo(form["dtype"]).max // (1 if form["dtype"] == "uint8" else 16)
            coarse = dice.integers(0, most, (form["count"], rows, -(-side // 8)), form["dtype"], endpoint=True)
            raster.write(coarse.repeat(8, 2)[:, :, :side], window=Window(0, top, side, rows))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        if sys.argv[1] == "predict":
            used = _predicted(float(sys.argv[2]), Path(name))
        else:
            _one(sys.argv[1], float(sys.argv[2]), Path(name), *map(int, sys.argv[3:]))
            used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_maxrss * 1024, used.ru_utime + used.ru_stime)
