"""The benchmarks themselves: from a command line to a table and a dictionary of all numbers."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.table import Table

from mae_hydra.accelerators import peak_tflops
from mae_hydra.benchmark.counting import counting
from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.measured import Floor, Measured, gigabytes, timing_numbers, timing_table
from mae_hydra.benchmark.memory import PeakMemory, kept_bytes
from mae_hydra.benchmark.mmsegmentation import mmsegmentation_classes, mmsegmentation_step, segmentor
from mae_hydra.benchmark.parts import count_parts
from mae_hydra.benchmark.peers import huggingface_step, plain_mae_step, plain_upernet_step
from mae_hydra.benchmark.rates import matrix_rate
from mae_hydra.benchmark.saving import saving
from mae_hydra.benchmark.timing import alternate, wait
from mae_hydra.benchmark.workloads import TrainingStep, noise_batch, plain_loop
from mae_hydra.engine import Settings, cut_batch
from mae_hydra.engine.settings import AUTOCAST
from mae_hydra.errors import UserError
from mae_hydra.experiment import entry
from mae_hydra.experiment.check import check
from mae_hydra.experiment.compose import compose_config
from mae_hydra.experiment.construct import build, complete
from mae_hydra.experiment.evaluate import evaluate
from mae_hydra.experiment.evaluation_plan import command_line
from mae_hydra.flops import training_flops
from mae_hydra.models import MAE, UPerNet
from mae_hydra.seeds import seed_device
from mae_hydra.types import Batch
from mae_hydra.weights import Checkpoint, read_checkpoint

TIMING_IMAGES, WARMUP_IMAGES = 200, 5  # of the published fps: one image at a time, after five that do not count


def parts(words: Sequence[str]) -> Measured:
    """Parameters and FLOPs of a model's parts, for one image of the model's size."""
    config = composed(words)
    with torch.device("meta"):
        model = build(config.model, "model").eval()
        height, width = model.encoder.image_size
        found = count_parts(model, torch.zeros(1, model.encoder.in_chans, height, width))
    table = Table(title=f"{config.name}, one image of {height}x{width}", title_justify="left")
    for name in ("part", "parameters, M", "forward GFLOP"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for part in found:
        table.add_row(part.name, f"{part.parameters / 1e6:.3f}", f"{part.flops / 1e9:.2f}")
    return Measured(table, {"model": config.name, "parts": [part._asdict() for part in found]})


def step(words: Sequence[str], rounds: int, *, alone: bool = False) -> Measured:
    """A training step on data that lies ready, beside a peer where there is one for the task, unless `alone`."""
    config = composed(words)
    settings: Settings = build(config.engine, "engine")
    settings.apply()
    work, model, batch = training_step(config, settings)
    candidates: dict[str, Any] = {"mae_hydra": work}
    if not alone:
        candidates |= _peers(model, settings, batch)
    with PeakMemory(settings.torch_device) as peak:
        work()
        wait(settings.torch_device)
    taken = {name: _taken(call, settings.torch_device) for name, call in candidates.items()}
    found = alternate(candidates, rounds=rounds, warmup=0, device=settings.torch_device)
    images = len(batch) * work.accumulate
    memory = "kept" if settings.torch_device.type == "cpu" else "takes"
    floor = _matrix_floor(model, batch, settings, images)
    title = f"{config.name}: training step of {images} images, {settings.resolved_precision}"
    table = timing_table(title, found, images, "img/s", floor, (memory, taken))
    numbers: dict[str, Any] = {"images": images, "precision": settings.resolved_precision}
    numbers |= {"peak_memory_bytes": peak.bytes, "taken_bytes": taken}
    table.caption = f"{table.caption}; peak memory {gigabytes(peak.bytes)}"
    most = peak_tflops(settings.torch_device, settings.resolved_precision)
    if most is not None:
        mfu = {
            name: training_flops(model, batch) * images / timing.median / most / 1e12 for name, timing in found.items()
        }
        numbers |= {"mfu": mfu}
        table.caption += "; MFU " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in mfu.items())
    return Measured(table, numbers | timing_numbers(config.name, found, floor))


def _taken(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a training step takes above what lies there; on the CPU, what it keeps for its backward pass."""
    call()  # the second one is looked at, when all has been made that stays
    if device.type == "cpu":
        return kept_bytes(call)
    with PeakMemory(device) as peak:
        call()
        wait(device)
    return peak.added


def _peers(model: Any, settings: Settings, batch: Batch) -> dict[str, Any]:
    """The same step as others write it."""
    made: dict[str, Any]
    if isinstance(model, MAE):
        made = {
            "plain timm": plain_mae_step(model, settings, batch, lr=1e-4),
            "Hugging Face ViTMAE": huggingface_step(model, settings, batch, lr=1e-4),
        }
    elif isinstance(model, UPerNet):
        made = {
            "plain UPerNet": plain_upernet_step(model, settings, batch, lr=1e-4),
            "mmsegmentation": mmsegmentation_step(model, settings, batch, lr=1e-4),
        }
    else:
        made = {}
    return {name: peer for name, peer in made.items() if peer is not None}


def _matrix_floor(model: Any, batch: Batch, settings: Settings, images: int) -> Floor:
    """All products of matrices, as fast as this machine does a large one."""
    dtype = AUTOCAST.get(settings.resolved_precision, torch.float32)
    rate = matrix_rate(settings.torch_device, dtype)
    flops = training_flops(model, batch) * images
    return Floor(f"{flops / 1e9:.0f} GFLOP at {rate / 1e9:.0f} GFLOP/s", flops / rate)


def inference(
    path: Path | None, words: Sequence[str], size: tuple[int, int], rounds: int, *, alone: bool, shares: bool
) -> Measured:
    """The classes of one picture of `size`, beside the loop that everyone writes, with the same weights.

    `alone`: without that loop, which holds all scores of the picture at once. `shares`: beside itself without each of
    its shortcuts.
    """
    chosen = any(word.startswith("inference=") for word in words)
    config, checkpoint, settings = _configured(path, words if chosen else [*words, "inference=slide"])
    model = _segmenter(config, checkpoint, settings)
    method = build(config.inference, "inference")
    image = noise_batch(size, model.encoder.in_chans, 1, 0).images[0]
    crop = model.encoder.image_size[0]
    settings_of_loop = {"crop": crop, "stride": int(crop * 0.6667), "short": crop}
    method.check(model, size)
    with torch.no_grad(), settings.autocast():
        ours = method.predict(model, [image])[0]
        theirs = ours if alone else plain_loop(model, image, **settings_of_loop)
        candidates = {type(method).__name__: lambda: method.predict(model, [image])}
        if not alone:
            candidates["window at a time"] = lambda: plain_loop(model, image, **settings_of_loop)
            peer = segmentor(model)
            if peer is not None:
                peer.to(settings.torch_device).eval()
                candidates["mmsegmentation"] = lambda: mmsegmentation_classes(peer, model, image, crop)
        for name in config.inference.shortcuts if shares else ():
            candidates[f"without {name}"] = partial(_without(config, name).predict, model, [image])
            candidates[f"without {name}"]()  # what it works out once is not timed
        with PeakMemory(settings.torch_device) as peak:
            method.predict(model, [image])
            wait(settings.torch_device)
        found = alternate(candidates, rounds=rounds, warmup=0, device=settings.torch_device)
    same = float((ours.cpu() == theirs.cpu()).double().mean())
    title = f"{config.name}: a picture of {size[0]}x{size[1]}, {settings.resolved_precision}"
    table = timing_table(title, found, 1, "img/s")
    table.caption = f"{table.caption}; peak memory {gigabytes(peak.bytes)}"
    table.caption += "" if alone else f"; {100 * same:.4f} % of the pixels agree"
    numbers = {"size": list(size), "agreeing_pixels": None if alone else same, "peak_memory_bytes": peak.bytes}
    return Measured(table, numbers | timing_numbers(config.name, found))


def metrics(words: Sequence[str], size: tuple[int, int], rounds: int) -> Measured:
    """A picture's predictions into the confusion matrix, with the classes and on the device that `words` say."""
    config = composed(words if any(word.startswith("model=") for word in words) else ["model=upernet_vitb", *words])
    settings: Settings = build(config.engine, "engine")
    return counting(size, config.data.num_classes, rounds, settings.torch_device)


def checkpoint(words: Sequence[str], rounds: int) -> Measured:
    """A run's state to the disk of the working directory and back."""
    config = composed(words)
    settings: Settings = build(config.engine, "engine")
    work, _, _ = training_step(config, settings)
    return saving(work.state.model, work.state.optimizer, settings, config.name, rounds)


def results_row(path: Path, words: Sequence[str], images: int) -> Measured:
    """Memory, fps and mIoU as a results table has them, by the published protocols.

    Memory: peak of training steps at `data.batch_size` images. fps: one picture at a time, loading left out, resizing,
    windows, resizing back and arg max included. mIoU: single scale, then multi-scale with flipping.
    """
    config, checkpoint, settings = _configured(path, [*words, "inference=slide"])
    peak, trained = _training_peak(config, settings)  # first: nothing else is in memory yet
    model = _segmenter(config, checkpoint, settings)
    data = build(config.data, "data")
    method = build(config.inference, "inference")
    count = min(images + WARMUP_IMAGES, len(data.validation))
    pictures = [data.validation[index].image for index in range(count)]
    timed = pictures[WARMUP_IMAGES:] or pictures
    turns = iter(timed)
    with torch.no_grad(), settings.autocast():
        for picture in pictures[:WARMUP_IMAGES]:
            method.predict(model, [picture])
        candidates = {"picture": lambda: method.predict(model, [next(turns)])}
        found = alternate(candidates, rounds=len(timed), warmup=0, device=settings.torch_device)["picture"]
    fps = len(found.seconds) / sum(found.seconds)
    scores = {
        name: evaluate(path, [*words, f"inference={option}"], None)["mIoU"]
        for name, option in (("mIoU", "slide"), ("mIoU(ms+flip)", "multiscale_flip"))
    }
    table = Table(title=f"{config.name}: the results row", title_justify="left", caption_justify="left")
    for name in ("method", "crop", "memory, GB", "fps", "mIoU", "mIoU(ms+flip)"):
        table.add_column(name, justify="left" if name == "method" else "right")
    crop = "x".join(map(str, model.encoder.image_size))
    memory = gigabytes(peak).removesuffix(" GB")
    table.add_row(config.name, crop, memory, f"{fps:.2f}", *(f"{value:.2f}" for value in scores.values()))
    machine = describe_machine()
    table.caption = (
        f"{in_words(machine)}; {settings.resolved_precision}; training at {trained} images; fps over "
        f"{len(found.seconds)} pictures, {1e3 * found.median:.0f} ms median, {1e3 * found.percentile(95):.0f} ms 95 %"
    )
    numbers = {"model": config.name, "fps": fps, "latency_seconds": list(found.seconds), "machine": machine, **scores}
    return Measured(table, numbers | {"training_peak_memory_bytes": peak, "training_images": trained})


def _without(config: DictConfig, shortcut: str) -> Any:
    """The inference of `config`, one shortcut less."""
    others = [name for name in config.inference.shortcuts if name != shortcut]
    node = config.inference.copy()
    node.shortcuts = others
    return build(node, "inference")


def composed(words: Sequence[str]) -> DictConfig:
    config = compose_config(words)
    check(config)
    return config


def training_step(config: DictConfig, settings: Settings) -> tuple[TrainingStep, Any, Any]:
    seed_device(config.seed, "init")
    model = build(config.model, "model").to(settings.torch_device).train()
    optimizer = complete("optimizer", build(config.optimizer, "optimizer"), model)
    cut = complete("engine", cut_batch, settings.global_batch, config.data.batch_size, 1)
    classes = getattr(model, "num_classes", 0)
    batch = noise_batch(model.encoder.image_size, model.encoder.in_chans, cut.micro_batch, classes)
    return TrainingStep(model, optimizer, settings, batch, cut.accumulate), model, batch


def _training_peak(config: DictConfig, settings: Settings) -> tuple[int | None, int]:
    """Most bytes that two training steps needed, and their micro-batch."""
    with PeakMemory(settings.torch_device) as peak:
        work, _, batch = training_step(config, settings)
        for _ in range(2):
            work()
        wait(settings.torch_device)
    return peak.bytes, len(batch)


def _configured(path: Path | None, words: Sequence[str]) -> tuple[DictConfig, Checkpoint | None, Settings]:
    """The configuration of a segmentation model, with its checkpoint where `path` names one."""
    checkpoint = None if path is None else read_checkpoint(path, prefer="best")
    config = composed(words if path is None or checkpoint is None else command_line(checkpoint, words))
    if config.task != "segment":
        raise UserError(f"this benchmark takes a UPerNet, got {config.name}; use model=upernet_vitb")
    settings: Settings = build(config.engine, "engine")
    settings.apply()
    return config, checkpoint, settings


def _segmenter(config: DictConfig, checkpoint: Checkpoint | None, settings: Settings) -> UPerNet:
    """The model on its device: of a checkpoint, or freshly initialised."""
    seed_device(config.seed, "init")
    model = build(config.model, "model").eval() if checkpoint is None else entry.model_from(checkpoint)
    assert isinstance(model, UPerNet)
    return model.to(settings.torch_device)
