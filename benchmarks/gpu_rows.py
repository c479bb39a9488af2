"""Rows of `gpu.py` that are no benchmark of a model's: photos to weights, FSDP on one device, a compiled head."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mae_hydra.benchmark import pictures
from mae_hydra.benchmark.memory import PeakMemory
from mae_hydra.benchmark.photos import Files, photo_files
from mae_hydra.benchmark.results import Measured, gigabytes_column, timing_numbers, timing_table
from mae_hydra.benchmark.timing import Timing, alternate, wait
from mae_hydra.benchmark.verbs import composed, training_step
from mae_hydra.benchmark.workloads import TrainingStep
from mae_hydra.configuration.construct import build
from mae_hydra.configuration.made_optimizer import made_optimizer
from mae_hydra.data import TrainStream
from mae_hydra.data.decoding.decode import jpeg_codec
from mae_hydra.data.shards.write import write_shards
from mae_hydra.engine import Settings, train_step
from mae_hydra.engine.sharding import shard
from mae_hydra.models.segmentation.fast_upernet import Derived
from mae_hydra.types import Batch

PHOTO = (375, 500)
STEPS = 4  # of a round
NO_LOADING = "a batch that lies ready"


def from_shards(words: Sequence[str], rounds: int, *, photos: int, times: int, workers: int | None = None) -> Measured:
    """Pre-training from JPEGs in tar files, loading included, beside the step alone; by decoder.

    `photos` are different, and lie in the shards so many `times`. The steps that use up what was loaded ahead of the
    first one are not timed, so that the slower of loading and training decides.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    with tempfile.TemporaryDirectory() as folder:
        encoded = photo_files(PHOTO, photos) * times
        sets: dict[str, Any] = {"train": Files(encoded), "validation": Files(encoded[:8])}
        write_shards(sets, Path(folder) / "shards", classes=None, samples_per_shard=256, num_workers=0)
        shards = ["data=shards", f"data.root={folder}/shards", f"data.num_workers={workers}", "data.prefetch=1"]
        config = composed([*words, *shards])
        settings: Settings = build(config.engine, "engine")
        settings.apply()
        work, _, batch = training_step(config, settings)
        work()
        timings = alternate({NO_LOADING: work}, rounds=rounds, warmup=1, device=settings.torch_device)
        left_out = ""
        for decode in ("reduced", "device"):
            if decode == "device" and settings.torch_device.type == "cuda" and jpeg_codec() is None:
                left_out = "; decode=device left out: there is no torchcodec for nvJPEG"
                continue
            with _loaded(composed([*words, *shards, f"augment.decode={decode}"]), len(batch), workers) as batches:
                timings[f"shards, decode={decode}"] = _steps(work, batches, rounds, workers + 1)
    title = f"{config.name}: from JPEGs of {PHOTO[0]}x{PHOTO[1]} to weights, {len(batch)} images, {workers} processes"
    table = timing_table(title, timings, len(batch), "img/s")
    table.caption = f"{table.caption}{left_out}"
    return Measured(table, {"images": len(batch), "workers": workers} | timing_numbers(config.name, timings))


@contextmanager
def _loaded(config: Any, images: int, workers: int) -> Iterator[Iterator[Batch]]:
    data, settings = build(config.data, "data"), build(config.engine, "engine")
    stream = TrainStream(
        data.train,
        build(config.augment, "augment"),
        global_batch=images,
        micro_batch=images,
        rank=0,
        world_size=1,
        seed=0,
        num_workers=workers,
        device_is_cuda=settings.torch_device.type == "cuda",
        prefetch=1,
    )
    with closing(stream.batches(0)) as batches:
        yield batches


def _steps(work: TrainingStep, batches: Iterator[Batch], rounds: int, ahead: int) -> Timing:
    """Seconds of a step, one number for each round of `STEPS`, after `ahead` that are not timed."""
    seconds = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        count = STEPS if number else ahead
        for _ in range(count):
            train_step(work.state, work.forward, batches, accumulate=1, settings=work.settings)
        wait(work.settings.torch_device)
        seconds.append((time.perf_counter() - began) / count)
    return Timing(tuple(seconds[1:]))


def sharded(words: Sequence[str], rounds: int) -> Measured:
    """A training step of the whole model beside one of the model in FSDP's shards, of which this device has all."""
    config = composed(words)
    settings: Settings = build(config.engine, "engine")
    settings.apply()
    device = settings.torch_device
    with _one_process(device):
        whole, _, batch = training_step(config, settings)
        parts, model, _ = training_step(config, settings)
        shard(parts.forward, device=device)
        parts.state.optimizer = made_optimizer(config.optimizer, model)  # it must see the shards
        steps = {"whole": whole, "FSDP on one device": parts}
        taken: dict[str, int | None] = {}
        for name, step in steps.items():
            step()
            with PeakMemory(device) as peak:
                step()
                wait(device)
            taken[name] = peak.added
        timings = alternate(steps, rounds=rounds, warmup=1, device=device)
    images = len(batch) * whole.accumulate
    title = f"{config.name}: training step of {images} images, {whole.settings.resolved_precision}"
    table = timing_table(title, timings, images, "img/s", more=gigabytes_column("takes", taken))
    return Measured(table, {"images": images, "taken_bytes": taken} | timing_numbers(config.name, timings))


@contextmanager
def _one_process(device: torch.device) -> Iterator[None]:
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def compiled_head(words: Sequence[str], size: tuple[int, int], rounds: int, *, backend: str) -> Measured:
    """Sliding windows with pyramid and head in one graph; `backend`: "inductor", or "eager", which only traces."""
    plain: Callable[..., Any] = Derived.logits
    Derived.logits = torch.compile(plain, backend=backend)  # type: ignore[method-assign]
    try:
        return pictures.inference(None, words, size, rounds, alone=True, shares=False)
    finally:
        Derived.logits = plain  # type: ignore[method-assign]
