"""Decoders side by side, and photos to training batches with one, two and more loading processes."""

import importlib.util
import io
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from mae_hydra.benchmark.photos import Files
from mae_hydra.benchmark.timing import Timing, alternate
from mae_hydra.data import PretrainAugment, TrainStream
from mae_hydra.data.decoding.decode import jpeg_codec, vision_decoder

Decoder = Callable[[bytes], Tensor]
BATCH = 16  # photos
BATCHES = 6  # that each process makes


def decoders() -> dict[str, Decoder]:
    """Every decoder of whole JPEGs that is installed here, in the order in which ours are taken; then simplejpeg."""
    found: dict[str, Decoder] = {}
    codec, vision = jpeg_codec(), vision_decoder(3)
    if codec is not None:
        found["torchcodec"] = lambda encoded: codec(encoded, mode="RGB")
    if vision is not None:
        found["torchvision"] = lambda encoded: vision(torch.frombuffer(bytearray(encoded), dtype=torch.uint8))
    found["Pillow"] = lambda encoded: _channels_first(np.array(Image.open(io.BytesIO(encoded)).convert("RGB")))
    if importlib.util.find_spec("simplejpeg") is not None:
        import simplejpeg

        found["simplejpeg"] = lambda encoded: _channels_first(simplejpeg.decode_jpeg(encoded))
    return found


def decoding_table(files: Sequence[bytes], rounds: int) -> tuple[Table, dict[str, Any]]:
    """Photos a second of each decoder on one core, and whether it gives Pillow's pixels."""
    table = Table(title="decoding alone, whole pictures, one core", title_justify="left")
    for name in ("", "img/s", "pixels as Pillow's"):
        table.add_column(name, justify="left" if not name else "right")
    chosen = decoders()
    calls = {name: (lambda decoder=decoder: [decoder(file) for file in files]) for name, decoder in chosen.items()}
    found = alternate(calls, rounds=rounds, warmup=1, device=torch.device("cpu"))
    rates: dict[str, Any] = {}
    for name, timing in found.items():
        pairs = [(chosen[name](file), chosen["Pillow"](file)) for file in files]
        same = sum(int((ours == theirs).sum()) for ours, theirs in pairs) / sum(ours.numel() for ours, _ in pairs)
        rates[name] = {"images_a_second": len(files) / timing.median, "same_pixels": same}
        table.add_row(name, f"{len(files) / timing.median:.0f}", f"{100 * same:.2f} %")
    return table, rates


def processes_table(
    files: list[bytes], rounds: int, side: int, crop: dict[str, Any], counts: Sequence[int] = (1, 2, 4)
) -> tuple[Table, dict[str, Any]]:
    """Photos a second with so many loading processes, from the second batch on; candidates take turns."""
    makers: dict[str, Callable[[int], Any]] = {"mae_hydra (decode=reduced)": partial(_ours, files, side, crop)}
    for name, decoder in decoders().items():
        makers[f"DataLoader: {name} + torchvision"] = partial(_theirs, files, _Crops(decoder, side, crop))
    seconds: dict[tuple[str, int], list[float]] = {(name, count): [] for name in makers for count in counts}
    for _ in range(rounds):
        for name, count in seconds:
            seconds[name, count].append(_seconds(makers[name](count), BATCHES * count))
    table = Table(title="with loading processes, img/s", title_justify="left")
    for column in ("", *map(str, counts)):
        table.add_column(column, justify="left" if not column else "right")
    rates = {key: BATCH / Timing(tuple(each)).median for key, each in seconds.items()}
    for name in makers:
        table.add_row(name, *(f"{rates[name, count]:.0f}" for count in counts))
    return table, {name: {str(count): rates[name, count] for count in counts} for name in makers}


class _Crops(Dataset):
    """As others write it: decode, crop, flip, normalise."""

    files: Sequence[bytes] = ()

    def __init__(self, decoder: Decoder, side: int, crop: dict[str, Any]) -> None:
        self.decoder = decoder
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(side, interpolation=v2.InterpolationMode.BICUBIC, antialias=True, **crop),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return 2**20

    def __getitem__(self, index: int) -> Tensor:
        made: Tensor = self.transform(self.decoder(self.files[index % len(self.files)]))
        return made


def _theirs(files: list[bytes], crops: _Crops, count: int) -> Iterator[Any]:
    crops.files = files
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")  # more than cores: that is measured
        batches = iter(DataLoader(crops, batch_size=BATCH, num_workers=count))
    yield from batches


def _ours(files: list[bytes], side: int, crop: dict[str, Any], count: int) -> Iterator[Any]:
    augment = PretrainAugment(size=side, flip=0.5, **crop)
    batch = {"global_batch": BATCH, "micro_batch": BATCH, "rank": 0, "world_size": 1}
    many = Files([files[index % len(files)] for index in range(max(BATCH, len(files)))])
    return TrainStream(many, augment, **batch, seed=0, num_workers=count, device_is_cuda=False).batches(0)


def _seconds(batches: Any, number: int) -> float:
    """Of a batch, the first left out: in it the processes start."""
    with closing(batches):
        next(batches)
        began = time.perf_counter()
        for _ in range(number):
            next(batches)
        return (time.perf_counter() - began) / number


def _channels_first(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)
