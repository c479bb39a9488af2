"""Tables of `scaling`, whose inputs are measured here."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from scaling import Inputs, Row, row, simulate, sources

from mae_hydra import atomic
from mae_hydra.benchmark.estimate import example_batch, state_bytes
from mae_hydra.benchmark.loading import one_thread
from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.photos import Files, photo_files
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.data import PretrainAugment
from mae_hydra.flops import training_flops
from mae_hydra.seeds import generator

DEVICES = (8, 64, 512)
MANY_IMAGES = 1e9
IMAGES, WRITTEN = 60, 2**28
DAYS = 3.0  # of training in the simulation
RUNS = 20


def report(words: Sequence[str]) -> tuple[Group, dict[str, Any]]:
    """Tables for the screen and all numbers, of the pre-training that `words` compose."""
    config = compose_config(words or ["+experiment=mae_vitb_imagenet_800e"])
    with torch.device("meta"):
        model = build(config.model, "model")
    size, rate = _images(model.encoder.image_size[0])
    inputs = Inputs(
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        step_flops=training_flops(model, example_batch(model, 2)),
        checkpoint_bytes=state_bytes(model, average=False)[1],
        image_bytes=size,
        decode_rate=rate,
        write_rate=_write_rate(),
        start_seconds=_start_seconds(),
        global_batch=config.engine.global_batch,
    )
    rows = [row(inputs, devices) for devices in DEVICES]
    machine = describe_machine()
    tables = [_inputs(config.name, inputs, in_words(machine)), _rows(rows), _many(inputs, rows[-1])]
    numbers = {"inputs": sources(inputs), "rows": [each._asdict() for each in rows], "machine": machine}
    return Group(*tables), numbers


def _images(side: int) -> tuple[float, float]:
    """Bytes of a JPEG, and how many a second one core turns into a training crop."""
    augment = PretrainAugment(size=side, scale=[0.2, 1.0], ratio=[3 / 4, 4 / 3], flip=0.5, decode="reduced")
    files = photo_files((375, 500), IMAGES)
    photos = Files(files)
    with one_thread():
        began = time.perf_counter()
        for number in range(IMAGES):
            augment(photos.undecoded(number), generator(0, "scaling", number))
        seconds = time.perf_counter() - began
    return float(np.mean([len(file) for file in files])), len(files) / seconds


def _write_rate() -> float:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        began = time.perf_counter()
        with atomic.writing(Path(folder) / "file") as temporary:
            torch.save(torch.zeros(WRITTEN // 4), temporary)
        return WRITTEN / (time.perf_counter() - began)


def _start_seconds() -> float:
    """A run of no length: imports, configuration, data, model, first step, evaluation and a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        words = ["train", "+debug=smoke", f"paths.output_root={folder}"]
        subprocess.run([sys.executable, "-m", "mae_hydra", *words], check=True, capture_output=True)
        return time.perf_counter() - began


def _inputs(name: str, inputs: Inputs, machine: str) -> Table:
    table = Table(title=f"{name}: inputs", title_justify="left", caption=machine, caption_justify="left")
    for column in ("", "value", "from"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for what, value, source in sources(inputs):
        table.add_row(what, f"{value:.4g}", source)
    return table


def _rows(rows: Sequence[Row]) -> Table:
    table = Table(title="The same run on more devices", title_justify="left")
    table.add_column("devices")
    for each in rows:
        table.add_column(str(each.devices), justify="right")
    lines = {
        "images of a device in a step": [f"{r.batch_of_a_device:.0f}" for r in rows],
        "compute of a step, ms": [f"{1e3 * r.compute:.1f}" for r in rows],
        "all-reduce, ms": [f"{1e3 * r.reduce:.1f}" for r in rows],
        "of which not hidden, ms": [f"{1e3 * r.exposed:.1f}" for r in rows],
        "efficiency, %": [f"{100 * r.efficiency:.0f}" for r in rows],
        "images a second": [f"{r.images_a_second:,.0f}" for r in rows],
        "read, GB/s": [f"{r.read_rate / 1e9:.2f}" for r in rows],
        "cores that decode": [f"{r.decode_cores:,.0f}" for r in rows],
        "a failure every, hours": [f"{r.mtbf_hours:,.0f}" for r in rows],
        "checkpoint every, minutes": [f"{r.interval / 60:.1f}" for r in rows],
        "lost to failures and saving, %": [f"{100 * r.lost:.2f}" for r in rows],
    }
    for name, cells in lines.items():
        table.add_row(name, *cells)
    return table


def _many(inputs: Inputs, largest: Row) -> Table:
    table = Table(title="A billion images, and failures simulated", title_justify="left", show_header=False)
    size = MANY_IMAGES * inputs.image_bytes
    hours = MANY_IMAGES / largest.images_a_second / 3600
    stall = inputs.checkpoint_bytes / inputs.to_host
    work, mtbf = DAYS * 86400, largest.mtbf_hours * 3600

    def lost(interval: float) -> str:
        times = [simulate(work, interval, stall, inputs.start_seconds, mtbf, seed) for seed in range(RUNS)]
        return f"{100 * (np.mean(times) / work - 1):.2f} %"

    rows = {
        "size": f"{size / 1e12:.1f} TB in {size / inputs.shard_bytes:,.0f} shards of {inputs.shard_bytes / 1e6:.0f} MB",
        "images of a shard": f"{inputs.shard_bytes / inputs.image_bytes:,.0f}",
        f"an epoch on {largest.devices} devices": f"{hours:.1f} hours",
        f"lost in {DAYS:.0f} days there, simulated": lost(largest.interval),
        "with a checkpoint every hour": lost(3600.0),
        "with a restart of ten minutes": f"{100 * _slow_restart(inputs, largest):.2f} % by the formula",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _slow_restart(inputs: Inputs, largest: Row) -> float:
    """Share lost where starting again takes ten minutes, as a queue and a large file system make it."""
    return row(replace(inputs, start_seconds=600.0), largest.devices).lost
