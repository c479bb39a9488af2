"""`mae-hydra plan`: what a run will take, before a GPU is booked."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mae_hydra.errors import UserError
from mae_hydra.launching.importing import importing

if TYPE_CHECKING:
    from rich.table import Table

    from mae_hydra.accelerators import Accelerator
    from mae_hydra.benchmark.plan import Plan

ROOM = 0.9  # of a device's memory: kernels and the allocator want some
BATCHES = (8, 16, 32, 64, 128, 256)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", help="what follows python train.py: +experiment=…; or a run, and what differs"
    )
    parser.add_argument("--devices", type=int, help="how many (default: engine.devices)")
    parser.add_argument("--gpu", default="h100", help="h200, h100 (default), a100, l40s, v100 or rtx4090")
    parser.add_argument(
        "--mfu", type=float, default=0.4, help="share of the peak that is reached (default: %(default)s)"
    )
    parser.add_argument("--measure", action="store_true", help="time a step here instead of assuming a device")
    parser.add_argument("--images", type=int, help="training images, where the data set is not on this machine")
    parser.add_argument("--out", type=Path, help="all numbers as JSON")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.accelerators import ACCELERATORS

    with importing():
        from mae_hydra.benchmark.plan import plan
    from mae_hydra.experiment.status import write_json
    from mae_hydra.terminal import plain_console

    if options.gpu not in ACCELERATORS:
        raise UserError(f"--gpu must be one of {', '.join(ACCELERATORS)}, got {options.gpu}")
    if not 0 < options.mfu <= 1:
        raise UserError(f"--mfu is a share of the peak in (0, 1], got {options.mfu}")
    for name in ("devices", "images"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}")
    console = plain_console()
    made = plan(options.words, devices=options.devices, images=options.images)
    numbers = made.numbers()
    console.print(_model(made))
    console.print(_course(made))
    device = ACCELERATORS[options.gpu]
    if options.measure:
        seconds, line = _measured(options.words, made)
        numbers["measured_seconds_per_step"] = seconds
        console.print(line, soft_wrap=True)
    else:
        console.print(_memory(made, device))
        console.print(_time(made, device, options.mfu), soft_wrap=True)
    warnings = made.warnings if options.measure else [*made.warnings, *_memory_warnings(made, device)]
    for warning in warnings:
        console.print(f"warning: {warning}", soft_wrap=True)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, numbers)
    return 0


def _model(plan: "Plan") -> "Table":
    from rich.table import Table

    table = Table(title=f"{plan.name}: one image", title_justify="left")
    for column in ("part", "parameters, M", "forward GFLOP"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in plan.parts:
        table.add_row(part["name"], _number(part["parameters"] / 1e6, 2), _number(part["flops"] / 1e9, 2))
    table.add_row(
        "training step", f"{_number(plan.trainable / 1e6, 2)} trained", _number(plan.flops_per_image / 1e9, 2)
    )
    return table


def _course(plan: "Plan") -> "Table":
    from rich.table import Table

    table = Table(title="The run", title_justify="left", show_header=False)
    assumed = " (not here: the published number, or --images)" if plan.assumed_images else ""
    cut = f"{plan.devices} x {plan.accumulate} micro-batches of {plan.micro_batch}"
    low, high = plan.lr_range
    rates = f"{high:.3g}" if low == high else f"{high:.3g}, down to {low:.3g} by layer decay"
    share = 100 * plan.evaluation_share  # of the training's operations, in percent
    told = f", at least {share:.1f} % of training" if share >= 0.1 else ""
    rows = {
        "training images": f"{plan.images[0]:,}{assumed}",
        "images a step": f"{plan.global_batch} = {cut}",
        "steps": f"{plan.steps:,} ({_number(plan.epochs, 1)} epochs), of which warm-up {plan.warmup_steps:,}",
        "learning rate": rates,
        "evaluations": f"{plan.evaluations}{told}",
        "operations": f"{plan.total_flops:.3g} FLOP",
        "a checkpoint": f"{_number(plan.checkpoint / 1e9, 3)} GB",
        "disk at the end": f"{_number(plan.disk / 1e9, 2)} GB",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _memory(plan: "Plan", device: "Accelerator") -> "Table":
    from rich.table import Table

    table = Table(title="Memory of a device, GB", title_justify="left", caption_justify="left")
    table.add_column("images at a time", justify="right")
    for precision in plan.memory:
        table.add_column(precision, justify="right")
    for images in sorted({*BATCHES, plan.micro_batch}):
        cells = []
        for precision in plan.memory:
            size = plan.memory_bytes(precision, images) / 1e9
            cells.append(_number(size, 1) + ("" if size < ROOM * device.memory else " too much"))
        table.add_row(f"{images}{' *' if images == plan.micro_batch else ''}", *cells)
    table.caption = (
        f"* as configured\nof which the state: {_number(plan.state / 1e9, 2)}\nkernels' own not counted\n"
        f"{device.name}: {device.memory:.0f}"
    )
    return table


def _memory_warnings(plan: "Plan", device: "Accelerator") -> list[str]:
    needed = plan.memory_bytes("bf16", plan.micro_batch) / 1e9
    if needed < ROOM * device.memory:
        return []
    fitting = [n for n in range(1, plan.micro_batch) if plan.memory_bytes("bf16", n) / 1e9 < ROOM * device.memory]
    way_out = f"use data.batch_size={fitting[-1]} or less" if fitting else "engine.parallel=fsdp shares the state out"
    return [f"{plan.micro_batch} images at a time take {needed:.0f} GB of {device.memory:.0f} GB in bf16; {way_out}"]


def _time(plan: "Plan", device: "Accelerator", mfu: float) -> str:
    hours = plan.hours(device.low, mfu)
    rate = plan.devices * device.low * 1e12 * mfu / plan.flops_per_image
    return (
        f"{plan.devices} x {device.name} in bf16 at {100 * mfu:.0f} % of its peak: {_time_of(hours)}, "
        f"{_time_of(hours * plan.devices, 'device ')}, {rate:,.0f} images a second; loading must keep up with that"
    )


def _number(value: float, digits: int) -> str:
    """With so many digits behind the point; what they would not show, with two that count."""
    return f"{value:.{digits}f}" if value >= 10.0 ** (1 - digits) or not value else f"{value:.2g}"


def _time_of(hours: float, kind: str = "") -> str:
    """Write `207.02 hours`; of less than six minutes the minutes or seconds."""
    if hours >= 0.1:
        return f"{hours:.2f} {kind}hours"
    return f"{60 * hours:.1f} {kind}minutes" if 60 * hours >= 1 else f"{3600 * hours:.2g} {kind}seconds"


def _measured(words: list[str], plan: "Plan") -> tuple[float, str]:
    from mae_hydra.benchmark.verbs import step

    measured = step(words, rounds=3, alone=True)
    seconds = measured.numbers["timings"]["mae_hydra"]["median"]
    hours = plan.steps * seconds / 3600
    rate = plan.flops_per_image * measured.numbers["images"] / seconds
    return seconds, (
        f"measured here: {seconds:.3f} s a step of {measured.numbers['images']} images, {rate / 1e9:,.0f} GFLOP/s; "
        f"the run takes {_time_of(hours)} on one such device, loading and evaluations not counted"
    )
