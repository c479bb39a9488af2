"""Cost per image against image size, batch, mask ratio, number of classes and loading processes.

A training step's cost should grow as its products of matrices do (`training_flops`), loading as the processes that
share it, up to the cores there are. One rate for all settings of a key, the median, turns operations into seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from growth_figure import Growth, growth
from matplotlib.figure import Figure
from rich.table import Table

from mae_hydra.benchmark.loading import CROP, SIDE
from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.photos import Files, photo_files
from mae_hydra.benchmark.results import Measured
from mae_hydra.benchmark.timing import Timing, alternate
from mae_hydra.benchmark.verbs import composed, training_step
from mae_hydra.configuration.construct import build
from mae_hydra.data import PretrainAugment, TrainStream
from mae_hydra.engine import Settings
from mae_hydra.flops import training_flops

MAE = ("model=mae_vits", "data=imagenet", "data.image_size=112")
UPERNET = ("model=upernet_vitt", "data.batch_size=4", "data.image_size=128", "backbone.patch_size=16")
PHOTOS, BATCHES = 64, 4  # of the loading processes


@dataclass(frozen=True)
class Key:
    """One thing that is varied: `override` takes the setting, `words` are the rest of the configuration."""

    name: str
    override: str
    settings: tuple[float, ...]
    words: tuple[str, ...]


KEYS = (
    Key("image size, pixels", "data.image_size={:g}", (64, 96, 128, 160, 192), (*MAE[:2], "data.batch_size=8")),
    Key("images in a batch", "data.batch_size={:g}", (4, 8, 16, 32), MAE),
    Key("mask ratio", "model.mask_ratio={:g}", (0.1, 0.25, 0.5, 0.6, 0.75, 0.9), (*MAE, "data.batch_size=16")),
    Key("classes", "data.num_classes={:g}", (12, 40, 80, 150), UPERNET),
)


def growths(rounds: int, words: Sequence[str] = ()) -> tuple[Measured, Figure]:
    """The table and the figure; `words`: overrides for all steps (engine=gpu)."""
    table = Table(title="growth", title_justify="left", caption_justify="left")
    for name in ("", "setting", "ms/img", "GFLOP/img", "GFLOP/s"):
        table.add_column(name, justify="left" if not name else "right")
    numbers: dict[str, Any] = {"machine": describe_machine()}
    panels = []
    for key in KEYS:
        seconds, flops = _steps(key, rounds, words)
        rate = float(np.median(flops / seconds))
        measured, predicted = (1e3 * seconds).tolist(), (1e3 * flops / rate).tolist()
        panels.append(Growth(key.name, "ms an image", key.settings, measured, predicted))
        numbers[key.name] = {"settings": key.settings, "seconds": seconds.tolist(), "flops": flops.tolist()}
        for number, setting in enumerate(key.settings):
            cells = (f"{1e3 * seconds[number]:.2f}", f"{flops[number] / 1e9:.2f}")
            table.add_row(key.name, f"{setting:g}", *cells, f"{flops[number] / seconds[number] / 1e9:.0f}")
        table.add_section()
    processes = (1, 2, 3, 4)
    rates = _loading(processes, rounds)
    cores = numbers["machine"]["cores"]
    panels.append(
        Growth("loading processes", "img/s", processes, rates, [rates[0] * min(each, cores) for each in processes])
    )
    numbers["loading processes"] = {"settings": processes, "images_a_second": rates}
    for each, found in zip(processes, rates, strict=True):
        table.add_row("loading processes", f"{each}", f"{1e3 / found:.2f}", "", "")
    table.caption = f"{in_words(numbers['machine'])}; medians of {rounds} alternating rounds"
    return Measured(table, numbers), growth(panels, title="Cost per image: measured, and as operations predict it")


def _steps(key: Key, rounds: int, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, FLOPs) of an image at every setting."""
    candidates, flops, images = {}, [], []
    device = torch.device("cpu")
    for setting in key.settings:
        config = composed([*key.words, key.override.format(setting), *words])
        settings: Settings = build(config.engine, "engine")
        settings.apply()
        device = settings.torch_device
        work, model, batch = training_step(config, settings)
        candidates[f"{setting:g}"] = work
        flops.append(training_flops(model, batch))
        images.append(len(batch))
    found = alternate(candidates, rounds=rounds, warmup=1, device=device)
    seconds = [timing.median / count for timing, count in zip(found.values(), images, strict=True)]
    return np.array(seconds), np.array(flops)


def _loading(processes: Sequence[int], rounds: int) -> list[float]:
    """Images a second with so many loading processes, once they run."""
    files = Files(photo_files((375, 500), PHOTOS))
    augment = PretrainAugment(size=SIDE, flip=0.5, decode="reduced", **CROP)
    shape = {"global_batch": PHOTOS, "micro_batch": PHOTOS, "rank": 0, "world_size": 1}
    candidates, open_streams = {}, []
    for each in processes:
        stream = TrainStream(files, augment, **shape, seed=0, num_workers=each, device_is_cuda=False, prefetch=1)
        batches = stream.batches(0)
        open_streams.append(batches)
        candidates[f"{each}"] = lambda batches=batches: list(islice(batches, BATCHES))
    found: dict[str, Timing] = {}
    for name, call in candidates.items():  # one after the other: waiting ones hold batches ready, and would be too fast
        found |= alternate({name: call}, rounds=rounds, warmup=1, device=torch.device("cpu"))
    for batches in open_streams:
        batches.close()
    return [BATCHES * PHOTOS / timing.median for timing in found.values()]
