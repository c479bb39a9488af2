"""What a study will take, said before it starts."""

import gc
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig

from mae_hydra.accelerators import ACCELERATORS
from mae_hydra.benchmark.plan import Plan
from mae_hydra.benchmark.timing import alternate
from mae_hydra.benchmark.verbs import training_step
from mae_hydra.configuration.construct import build
from mae_hydra.engine import Settings
from mae_hydra.experiment.many.label_study import PRETRAIN, swept_of
from mae_hydra.experiment.read_runs import Run, read_sweep, state_of
from mae_hydra.recorded.configuration import composed
from mae_hydra.report.page import duration

MEASURABLE = 1e12  # operations of a step of a CPU that is timed to say how long all will take
START = 12.0  # seconds until a run's first step, about
GPU, MFU = ACCELERATORS["h100"], 0.4  # as `mae-hydra plan` takes them


def say_cost(
    out: Path,
    arms: Sequence[str],
    fractions: Sequence[float],
    seeds: Sequence[int],
    labeled: tuple[list[str], Plan],
    pretrain: tuple[list[str], Plan | None],
    config: DictConfig,
) -> None:
    """Say how many runs there are, of which length, what is done, and how long the rest will take.

    `labeled`, `pretrain`: the words of the runs and what is planned of one.
    """
    plan, before = labeled[1], pretrain[1]
    all_images, seen = plan.images[0], plan.steps * plan.global_batch
    fewest = max(round(min(fractions) * all_images), 1)
    wanted = {(fraction, seed) for fraction in fractions for seed in seeds}
    each = len(wanted)
    done = [len(wanted & {swept_of(run) for run in _completed(out / arm)}) for arm in arms]
    shares = ", ".join(f"{100 * fraction:g}" for fraction in fractions)
    lines = [
        f"{config.name}, judged by {config.checkpoint.monitor}: {', '.join(arms)} x {shares} % of {all_images:,} "
        f"labeled images x seeds ({len(seeds)}) = {len(arms) * each} runs",
        f"of {plan.steps:,} steps of {plan.global_batch} images each, whatever the labels: "
        f"{seen / fewest:.3g} times all of {fewest:,}, {seen / all_images:.3g} times all of {all_images:,}",
    ]
    left = [(*labeled, sum(each - count for count in done))]
    if before is not None:
        images = f"{before.global_batch} of {before.images[0]:,} images"
        lines.append(f"before them {before.name} without labels: {before.steps:,} steps of {images}")
        left.append((pretrain[0], before, int(not _completed(out / PRETRAIN))))
    if any(done):
        lines.append(f"{sum(done)} of the runs are complete, and are not repeated")
    flops = sum(made.total_flops * (1 + made.evaluation_share) * count for _, made, count in left)
    lines += [f"{flops:.3g} operations: {_time(left, flops)}", f"everything goes to {out}"]
    print("\n".join(lines), flush=True)


def _completed(sweep: Path) -> list[Run]:
    return [run for run in read_sweep(sweep) if state_of(run) == "completed"]


def _time(left: Sequence[tuple[list[str], Plan, int]], flops: float) -> str:
    launched = any(each.startswith("hydra/launcher") for each in left[0][0])
    seconds = None if launched else _seconds(left)
    if seconds is None:
        return f"{flops / (GPU.low * 1e12 * MFU) / 3600:.3g} hours of a {GPU.name} at {100 * MFU:.0f} % of its peak"
    busy = ", as busy as the machine is now" if os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1) else ""
    return f"about {duration(seconds)} here, one run after the other and without waiting for data{busy}"


def _seconds(left: Sequence[tuple[list[str], Plan, int]]) -> float | None:
    """How long these runs take on this machine, by a step of each; None where a step alone takes long."""
    total = 0.0
    for words, made, count in left:
        if not count:
            continue
        config = composed(words)
        settings: Settings = build(config.engine, "engine")
        if settings.torch_device.type == "cpu" and made.flops_per_image * made.global_batch > MEASURABLE:
            return None
        settings.apply()
        step = training_step(config, settings)[0]
        timed = alternate({"step": step}, rounds=3, warmup=1, device=settings.torch_device)["step"]
        taken = min(timed.seconds) / made.devices
        total += count * (START + made.steps * taken * (1 + made.evaluation_share))
        del step
    if torch.cuda.is_initialized():  # the runs are processes of their own, and want all of it
        gc.collect()
        torch.cuda.empty_cache()
    return total
