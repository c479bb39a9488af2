"""From the bytes of photos to a training batch, on one core: ours in its forms, and the usual pipeline."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from mae_hydra.benchmark.loading_processes import decoding_table, processes_table
from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.photos import Files, photo_files
from mae_hydra.benchmark.results import Floor, Measured, in_rounds, timing_numbers, timing_table
from mae_hydra.benchmark.timing import alternate
from mae_hydra.data import PretrainAugment, TrainStream
from mae_hydra.data.augment.encoded import encoded_image
from mae_hydra.data.decoding.turbojpeg import region_decoder
from mae_hydra.data.shards.shrink import Shrunk

SIDE = 224  # pixels of a crop
SHORT = 256  # of a shrunk photo's shorter side
CROP: dict[str, Any] = {"scale": (0.2, 1.0), "ratio": (3 / 4, 4 / 3)}  # MAE's pre-training
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = "PIL + torchvision"


def loading(size: tuple[int, int], images: int, rounds: int) -> Measured:
    """A batch of `images` crops from photos of (H, W) `size`.

    Ours ends with uint8, normalised later on the device; the plain pipeline with normalised float32, which is its way.
    """
    files = photo_files(size, images)
    shrunk = [Shrunk(Files(files), SHORT, 3, decoded=True).stored(index).encoded for index in range(images)]
    candidates = {
        "mae_hydra (decode=reduced)": _ours(files, decode="reduced"),
        "decode=crop": _ours(files, decode="crop"),
        "decode=whole": _ours(files, decode="whole"),
        "crops_per_image=4": _ours(files, decode="whole", crops_per_image=4),
        f"shards --short {SHORT} --decoded": _ours(shrunk),
        PLAIN: lambda: _plain(files),
    }
    with one_thread():
        timings = alternate(candidates, rounds=rounds, warmup=1, device=torch.device("cpu"))
        entropy = alternate({"": lambda: _entropy(files)}, rounds=rounds, warmup=1, device=torch.device("cpu"))[""]
        decoding, decoded = decoding_table(files, rounds)
        processes, loaded = processes_table(files, max(1, rounds // 2), SIDE, CROP)
    floor = Floor("entropy decoding", entropy.median)
    height, width = size
    bytes_each = sum(map(len, files)) / images
    title = f"loading: {SIDE}x{SIDE} crops of {height}x{width} JPEGs of {bytes_each / 1e3:.0f} kB, one core"
    table = timing_table(title, timings, images, "img/s", floor)
    table.caption = f"{in_words(describe_machine() | {'threads': 1})}; {in_rounds(rounds)}"
    table.caption += "" if region_decoder() is not None else "; without TurboJPEG 3 (pip install 'mae-hydra[fast]')"
    numbers = {"size": list(size), "images": images, "bytes": bytes_each, "decoding": decoded, "processes": loaded}
    return Measured(table, numbers | timing_numbers("loading", timings, floor), (decoding, processes))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, as in a loading process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _ours(files: list[bytes], **how: Any) -> Callable[[], object]:
    """Successive batches of a training stream, as a worker makes them."""
    augment = PretrainAugment(size=SIDE, flip=0.5, **CROP, **how)
    batch = {"global_batch": len(files), "micro_batch": len(files), "rank": 0, "world_size": 1}
    stream = TrainStream(Files(files), augment, **batch, seed=0, num_workers=0, device_is_cuda=False)
    batches = stream.batches(0)
    return lambda: next(batches)


_plain_transform = transforms.Compose(
    [
        transforms.RandomResizedCrop(SIDE, interpolation=transforms.InterpolationMode.BICUBIC, **CROP),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(**IMAGENET),
    ]
)


def _plain(files: list[bytes]) -> torch.Tensor:
    return torch.stack([_plain_transform(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])


def _entropy(files: list[bytes]) -> None:
    """Grey at an eighth: what is left is reading the compressed numbers one after the other, which all must do."""
    for file in files:
        image = encoded_image(file, 1, "photo")
        assert image is not None
        image.cropped((0, 0, *image.shape[1:]), (image.shape[1] // 8, image.shape[2] // 8), "reduced")
