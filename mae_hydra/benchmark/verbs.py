"""The benchmarks themselves: from a command line to a table and a dictionary of all numbers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from rich.table import Table

from mae_hydra.accelerators import peak_tflops
from mae_hydra.benchmark.estimate import example_batch
from mae_hydra.benchmark.memory import PeakMemory, kept_bytes
from mae_hydra.benchmark.mmsegmentation import mmsegmentation_step
from mae_hydra.benchmark.parts import count_parts
from mae_hydra.benchmark.peers import OfOthers, huggingface_step, plain_mae_step, plain_upernet_step
from mae_hydra.benchmark.rates import matrix_floor
from mae_hydra.benchmark.results import (
    Measured,
    gigabytes,
    gigabytes_column,
    timing_numbers,
    timing_table,
    whose_products,
)
from mae_hydra.benchmark.timing import alternate, wait
from mae_hydra.benchmark.workloads import TrainingStep
from mae_hydra.configuration.construct import build, complete
from mae_hydra.configuration.made_optimizer import made_optimizer
from mae_hydra.engine import Settings, cut_batch
from mae_hydra.flops import training_flops
from mae_hydra.models import PixelCrossEntropy, UPerHead, VisionTransformer
from mae_hydra.products import plainly
from mae_hydra.recorded.configuration import composed
from mae_hydra.seeds import seed_device
from mae_hydra.types import DEFAULT_SIZE, Batch, answers, channels_of, image_size_of


def parts(words: Sequence[str]) -> Measured:
    """Parameters and FLOPs of a model's parts, for one image of the model's size."""
    config = composed(words)
    with torch.device("meta"):
        model = build(config.model, "model").eval()
        height, width = image_size_of(model) or DEFAULT_SIZE
        counted = count_parts(model, torch.zeros(1, channels_of(model), height, width))
    table = Table(title=f"{config.name}, one image of {height}x{width}", title_justify="left")
    for name in ("part", "parameters, M", "forward GFLOP"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for part in counted:
        table.add_row(part.name, f"{part.parameters / 1e6:.3f}", f"{part.flops / 1e9:.2f}")
    return Measured(table, {"model": config.name, "parts": [part._asdict() for part in counted]})


def step(words: Sequence[str], rounds: int, *, alone: bool = False) -> Measured:
    """A training step on data that lies ready, beside a peer where there is one for the task, unless `alone`.

    On a CPU that computes in less than fp32 all of them stand there in fp32 too: as others are shipped for it.
    """
    config = composed(words)
    settings: Settings = build(config.engine, "engine")
    settings.apply()
    work, model, batch = training_step(config, settings)
    settings = work.settings
    with PeakMemory(settings.torch_device) as peak:
        work()
        wait(settings.torch_device)
    candidates: dict[str, Any] = {"mae_hydra": work}
    if not alone:
        of_others = OfOthers(settings)
        # They compute with torch as it is.
        candidates |= {name: plainly()(peer) for name, peer in _peers(model, of_others, batch).items()}
        if less_than_full(settings):
            full = replace(settings, precision="fp32")
            candidates |= {in_full(n): partial(_in, full, call, work, of_others) for n, call in candidates.items()}
    taken = {name: _taken(call, settings.torch_device) for name, call in candidates.items()}
    timings = alternate(candidates, rounds=rounds, warmup=0, device=settings.torch_device)
    images = len(batch) * work.accumulate
    memory = "kept" if settings.torch_device.type == "cpu" else "takes"
    floor = matrix_floor(training_flops(model, batch) * images, settings)
    title = f"{config.name}: training step of {images} images, {settings.resolved_precision}"
    table = timing_table(title, timings, images, "img/s", floor, gigabytes_column(memory, taken))
    numbers: dict[str, Any] = {"images": images, "precision": settings.resolved_precision}
    numbers |= {"peak_memory_bytes": peak.bytes, "taken_bytes": taken}
    table.caption = f"{table.caption}{whose_products(settings)}; peak memory of ours {gigabytes(peak.bytes)}"
    most = peak_tflops(settings.torch_device, settings.resolved_precision)
    if most is not None:
        mfu = {
            name: training_flops(model, batch) * images / timing.median / most / 1e12
            for name, timing in timings.items()
        }
        numbers |= {"mfu": mfu}
        table.caption += "; MFU " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in mfu.items())
    return Measured(table, numbers | timing_numbers(config.name, timings, floor))


def _taken(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a training step takes above what lies there; on the CPU, what it keeps for its backward pass."""
    call()  # the second one is looked at, when all has been made that stays
    if device.type == "cpu":
        return kept_bytes(call)
    with PeakMemory(device) as peak:
        call()
        wait(device)
    return peak.added


def _in(settings: Settings, call: Callable[[], object], *who: Any) -> None:
    """Call it while `who` goes by other settings, so that a model and its optimizer are built once for them all."""
    before = [each.settings for each in who]
    try:
        for each in who:
            each.settings = settings
        call()
    finally:
        for each, own in zip(who, before, strict=True):
            each.settings = own


def _peers(model: Any, settings: OfOthers, batch: Batch) -> dict[str, Any]:
    """Build the same step as others write it."""
    made: dict[str, Any] = {}
    if not isinstance(getattr(model, "encoder", None), VisionTransformer):
        return made  # each peer is a Vision Transformer of the same form
    if answers(model) == "reconstruction":
        made = {
            "plain timm": plain_mae_step(model, settings, batch, lr=1e-4),
            "Hugging Face ViTMAE": huggingface_step(model, settings, batch, lr=1e-4),
        }
    elif (
        isinstance(model.head, UPerHead)
        and model.pyramid is not None
        and isinstance(model.criterion, PixelCrossEntropy)
    ):
        made = {
            "plain UPerNet": plain_upernet_step(model, settings, batch, lr=1e-4),
            "mmsegmentation": mmsegmentation_step(model, settings, batch, lr=1e-4),
        }
    return {name: peer for name, peer in made.items() if peer is not None}


def less_than_full(settings: Settings) -> bool:
    """Whether this CPU computes in another precision than that in which others are shipped for it."""
    return settings.torch_device.type == "cpu" and settings.resolved_precision != "fp32"


def in_full(name: str) -> str:
    """Of the same in fp32."""
    return f"{name}, fp32"


def training_step(config: DictConfig, settings: Settings) -> tuple[TrainingStep, Any, Any]:
    """Build the training step that a configuration describes: (step, model, batch of noise)."""
    seed_device(config.seed, "init")
    model = build(config.model, "model").to(settings.torch_device).train()
    settings = settings.settled(model.parameters())
    optimizer = made_optimizer(config.optimizer, model)
    cut = complete("engine", cut_batch, settings.global_batch, config.data.batch_size, 1)
    batch = example_batch(model, cut.micro_batch, noise=True)
    return TrainingStep(model, optimizer, settings, batch, cut.accumulate), model, batch
