"""Benchmarks of segmenting pictures: one of them side by side with the plain loops, and the row of a results table."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.memory import PeakMemory
from mae_hydra.benchmark.mmsegmentation import mmsegmentation_classes, segmentor
from mae_hydra.benchmark.rates import matrix_floor
from mae_hydra.benchmark.results import Floor, Measured, gigabytes, timing_numbers, timing_table, whose_products
from mae_hydra.benchmark.timing import alternate, wait
from mae_hydra.benchmark.verbs import composed, in_full, less_than_full, training_step
from mae_hydra.benchmark.workloads import noise_batch, plain_loop, plain_multiscale
from mae_hydra.configuration.construct import build
from mae_hydra.engine import Settings
from mae_hydra.errors import UserError
from mae_hydra.inference import MultiscaleFlip, Slide
from mae_hydra.models import Segmenter
from mae_hydra.products import plainly
from mae_hydra.recorded.configuration import recorded
from mae_hydra.seeds import seed_device
from mae_hydra.types import DEFAULT_SIZE, channels_of, image_size_of
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.workflows import entry
from mae_hydra.workflows.evaluate import evaluate
from mae_hydra.workflows.evaluation_plan import PARTS

PLAIN = "window at a time"
WARMUP_IMAGES = 5  # of the published fps: one image at a time, after five that do not count


def inference(
    path: str | None, words: Sequence[str], size: tuple[int, int], rounds: int, *, alone: bool, shares: bool
) -> Measured:
    """The classes of one picture of `size`, beside the loop that everyone writes, with the same weights.

    `alone`: without that loop, which holds all scores of the picture at once; inference=whole has none. `shares`:
    beside itself without each of its shortcuts. On a CPU that computes in less than fp32, beside loops, all stand there
    in fp32 too.
    """
    chosen = any(word.startswith("inference=") for word in words)
    config, checkpoint, settings = _configured(path, words if chosen else [*words, "inference=slide"])
    model = _segmenter(config, checkpoint, settings)
    settings = settings.settled(model.parameters())
    method = build(config.inference, "inference")
    image = noise_batch(size, channels_of(model), 1, 0).images[0]
    method.check(model, size)
    loops = {} if alone else {n: plainly()(loop) for n, loop in _loops(method, model, image, settings).items()}
    own = type(method).__name__
    if loops and less_than_full(settings):
        again = deepcopy(model)  # a model keeps one form of its weights for inference, in one precision
        slower = {own: lambda: method.predict(again, [image])[0]} | loops
        loops |= {in_full(name): partial(_in_full, call) for name, call in slower.items()}
    with torch.no_grad(), settings.autocast():
        ours = method.predict(model, [image])[0]
        same = {name: float((ours.cpu() == loop().cpu()).double().mean()) for name, loop in loops.items()}
        floor = _floor_of(lambda: method.predict(model, [image]), settings)
        candidates = {own: lambda: method.predict(model, [image]), **loops}
        for name in config.inference.shortcuts if shares else ():
            candidates[f"without {name}"] = partial(_without(config, name).predict, model, [image])
            candidates[f"without {name}"]()  # what it works out once is not timed
        with PeakMemory(settings.torch_device) as peak:
            method.predict(model, [image])
            wait(settings.torch_device)
        timings = alternate(candidates, rounds=rounds, warmup=0, device=settings.torch_device)
    title = f"{config.name}: a picture of {size[0]}x{size[1]}, {settings.resolved_precision}"
    equal = ("equal classes, %", {name: f"{100 * share:.4f}" for name, share in same.items()})
    table = timing_table(title, timings, 1, "img/s", floor, equal if same else None)
    table.caption = f"{table.caption}{whose_products(settings)}; peak memory {gigabytes(peak.bytes)}"
    numbers: dict[str, Any] = {"size": list(size), "agreeing_pixels": same.get(PLAIN), "equal_classes": same}
    numbers |= {"peak_memory_bytes": peak.bytes, "precision": settings.resolved_precision}
    return Measured(table, numbers | timing_numbers(config.name, timings, floor))


def _in_full(call: Callable[[], torch.Tensor]) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return call()


def _loops(method: Any, model: Segmenter, image: torch.Tensor, settings: Settings) -> dict[str, Callable[[], Any]]:
    """Make the same classes as others do, one window after the other."""
    crop = (image_size_of(model) or DEFAULT_SIZE)[0]
    windows = {"crop": crop, "stride": int(crop * 0.6667), "short": crop}
    if isinstance(method, MultiscaleFlip):
        return {PLAIN: partial(plain_multiscale, model, image, **windows, ratios=method.ratios, flip=method.flip)}
    if not isinstance(method, Slide):
        return {}
    loops: dict[str, Callable[[], Any]] = {PLAIN: partial(plain_loop, model, image, **windows)}
    peer = segmentor(model)
    if peer is not None:
        peer.to(settings.torch_device).eval()
        loops["mmsegmentation"] = partial(mmsegmentation_classes, peer, model, image, crop)
    return loops


def _floor_of(call: Callable[[], Any], settings: Settings) -> Floor:
    """The products of matrices that `call` really makes, as fast as this machine does a large one."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return matrix_floor(counter.get_total_flops(), settings)


def results_row(path: str, words: Sequence[str], images: int) -> Measured:
    """Memory, fps and mIoU as a results table has them, by the published protocols.

    Memory: peak of training steps at `data.batch_size` images. fps: one picture at a time, loading left out, resizing,
    windows, resizing back and arg max included. mIoU: single scale, then multi-scale with flipping.
    """
    config, checkpoint, settings = _configured(path, [*words, "inference=slide"])
    peak, trained = _training_peak(config, settings)  # first: nothing else is in memory yet
    model = _segmenter(config, checkpoint, settings)
    settings = settings.settled(model.parameters())
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
        run = alternate(candidates, rounds=len(timed), warmup=0, device=settings.torch_device)["picture"]
    fps = len(run.seconds) / sum(run.seconds)
    scores = {
        name: evaluate(path, [*words, f"inference={option}"], None)["mIoU"]
        for name, option in (("mIoU", "slide"), ("mIoU(ms+flip)", "multiscale_flip"))
    }
    table = Table(title=f"{config.name}: the results row", title_justify="left", caption_justify="left")
    for name in ("method", "crop", "memory, GB", "fps", "mIoU", "mIoU(ms+flip)"):
        table.add_column(name, justify="left" if name == "method" else "right")
    crop = "x".join(map(str, image_size_of(model) or DEFAULT_SIZE))
    memory = gigabytes(peak).removesuffix(" GB")
    table.add_row(config.name, crop, memory, f"{fps:.2f}", *(f"{value:.2f}" for value in scores.values()))
    machine = describe_machine()
    table.caption = (
        f"{in_words(machine)}; {settings.resolved_precision}; training at {trained} images; fps over "
        f"{len(run.seconds)} pictures, {1e3 * run.median:.0f} ms median, {1e3 * run.percentile(95):.0f} ms 95 %"
    )
    numbers = {"model": config.name, "fps": fps, "latency_seconds": list(run.seconds), "machine": machine, **scores}
    return Measured(table, numbers | {"training_peak_memory_bytes": peak, "training_images": trained})


def _without(config: DictConfig, shortcut: str) -> Any:
    """The inference of `config`, one shortcut less."""
    others = [name for name in config.inference.shortcuts if name != shortcut]
    node = config.inference.copy()
    node.shortcuts = others
    return build(node, "inference")


def _training_peak(config: DictConfig, settings: Settings) -> tuple[int | None, int]:
    """Most bytes that two training steps needed, and their micro-batch."""
    with PeakMemory(settings.torch_device) as peak:
        work, _, batch = training_step(config, settings)
        for _ in range(2):
            work()
        wait(settings.torch_device)
    return peak.bytes, len(batch)


def _configured(path: str | None, words: Sequence[str]) -> tuple[DictConfig, Checkpoint | None, Settings]:
    """The configuration of a segmentation model, with its checkpoint where `path` names one."""
    checkpoint = None if path is None else read_checkpoint(path, prefer="best", download=True)
    config = composed(words) if checkpoint is None else recorded(checkpoint, words, PARTS).config
    if config.task != "segment":
        raise UserError(f"this benchmark takes a UPerNet, got {config.name}; use model=upernet_vitb")
    settings: Settings = build(config.engine, "engine")
    settings.apply()
    return config, checkpoint, settings


def _segmenter(config: DictConfig, checkpoint: Checkpoint | None, settings: Settings) -> Any:
    """The model on its device: of a checkpoint, or freshly initialised."""
    seed_device(config.seed, "init")
    model = build(config.model, "model").eval() if checkpoint is None else entry.model_from(checkpoint)
    segmenter: Any = model.to(settings.torch_device)
    return segmenter
