"""All figures of an accelerator in one go, within eight minutes: `python benchmarks/gpu.py --out gpu.json`.

Pre-training steps of ViT-B and ViT-L, eager and with compiled blocks, beside plain timm and Hugging Face, and of ViT-H
with FSDP; pre-training from JPEG shards, loading included; a training step of UPerNet and its sliding windows beside
the plain forms; the confusion matrix. What fails is said, and the rest goes on; a part that still runs when the time is
over is stopped.
"""

import argparse
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial, partialmethod
from pathlib import Path
from typing import Any

import torch
from gpu_rows import compiled_head, from_shards, sharded
from measure import metrics
from rich.console import Console
from torch import nn

from mae_hydra.benchmark import describe_machine, pictures, verbs
from mae_hydra.benchmark.results import Measured
from mae_hydra.experiment.status import write_json

ADE20K = ("model=upernet_vitb", "data=ade20k")
TINY_UPERNET = ("model=upernet_vitt", "data.batch_size=2")


def parts(device: str, rounds: int, *, smoke: bool) -> dict[str, Callable[[], Measured]]:
    """What is measured, the most wanted first."""
    engine = (f"engine={device}",)
    # Micro-batches that fill the device; the recipes' global batch of 4096 would only repeat them.
    base = ("model=mae_vitt",) if smoke else ("model=mae_vitb", "data=imagenet", "data.batch_size=512")
    large = ("model=mae_vitt",) if smoke else ("model=mae_vitl", "data=imagenet", "data.batch_size=256")
    huge = ("model=mae_vitt",) if smoke else ("model=mae_vith", "data=imagenet", "data.batch_size=64")
    pixio = ("model=pixio_vitt",) if smoke else ("model=pixio_vitb", "data=imagenet", "data.batch_size=256")
    upernet = TINY_UPERNET if smoke else (*ADE20K, "data.batch_size=16")
    size = (64, 80) if smoke else (512, 683)
    compiled, backend = "engine.compile=true", "eager" if smoke else "inductor"
    slide = partial(pictures.inference, None, size=size, rounds=rounds, alone=False)
    photos = {"photos": 8, "times": 2, "workers": 0} if smoke else {"photos": 512, "times": 8}
    shards = [word for word in base if word != "data=imagenet"] + ["data.batch_size=4"] * smoke
    bf16 = "engine.precision=bf16"
    return {
        "ViT-B pre-training": partial(verbs.step, [*base, *engine], rounds),
        "ViT-B pre-training, compiled": partial(verbs.step, [*base, *engine, compiled], rounds, alone=True),
        "UPerNet training": partial(verbs.step, [*upernet, *engine], rounds),
        "UPerNet training, compiled": partial(verbs.step, [*upernet, *engine, compiled], rounds, alone=True),
        "sliding windows": partial(slide, [*upernet, *engine, *half(device)], shares=True),
        "pre-training from JPEG shards": partial(from_shards, [*shards, *engine], rounds, **photos),
        "ViT-L pre-training, compiled": partial(verbs.step, [*large, *engine, compiled], rounds),
        "ViT-H pre-training, FSDP": partial(sharded, [*huge, *engine], rounds),
        "Pixio-B pre-training": partial(verbs.step, [*pixio, *engine], rounds, alone=True),
        "sliding windows, head in one graph": partial(
            compiled_head, [*upernet, *engine, *half(device)], size, rounds, backend=backend
        ),
        "sliding windows, bf16": partial(slide, [*upernet, *engine, bf16], shares=False),
        "sliding windows, bf16, head in one graph": partial(
            compiled_head, [*upernet, *engine, bf16], size, rounds, backend=backend
        ),
        "metrics": partial(metrics, [*upernet, *engine], size, 4 * rounds),
        "ViT-B pre-training, bf16_params": partial(verbs.step, [*base, *engine, f"{bf16}_params"], rounds, alone=True),
    }


def half(device: str) -> list[str]:
    """The precision of the published fps column."""
    return ["engine.precision=fp16"] if device == "gpu" else []


class Over(Exception):
    """The time is over; no OSError, as TimeoutError is, which much code lets pass."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """`Over` where what is inside takes longer."""

    def over(*_: object) -> None:
        raise Over("it was still running")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 30.0)  # again, where something has caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def only_traced() -> None:
    """From here on blocks are traced as for compiling, but no kernels are made, which takes a CPU minutes."""
    nn.Module.compile = partialmethod(nn.Module.compile, backend="eager")  # type: ignore[method-assign]


def measure(name: str, part: Callable[[], Measured], console: Console, seconds: float) -> dict[str, Any]:
    """The numbers of a part that takes no longer, or why there are none."""
    began = time.perf_counter()
    try:
        with within(seconds):
            found = part()
    except Exception as error:  # memory, a missing library: the other parts are still wanted
        console.print(f"{name}: failed ({type(error).__name__}: {error})")
        return {"failed": f"{type(error).__name__}: {error}"}
    finally:
        torch.cuda.empty_cache()
    console.rule(name, align="left")  # tables of one model have one title, compiled or not
    console.print(found.table)
    return found.numbers | {"took_seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="all numbers (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=8.0, help="of all parts (default: %(default)s)")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny models, traced and not compiled, on what there is: does it run?"
    )
    options = parser.parse_args()
    device = "gpu" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.smoke:
        parser.error("torch finds no CUDA device; --smoke tries the script without one")
    if options.smoke:
        only_traced()
    console, began = Console(), time.perf_counter()
    found: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe_machine()}
    for name, part in parts(device, options.rounds, smoke=options.smoke).items():
        left = 60 * options.minutes - (time.perf_counter() - began)
        if left < 0:
            console.print(f"{name}: left out, {options.minutes:g} min are over")
            found[name] = {"left_out": "the time was over"}
        else:
            found[name] = measure(name, part, console, left)
        found["machine"] = describe_machine()  # with what the part has chosen of it
        write_json(options.out, found)  # after each part: whatever ends this early loses nothing
    console.print(f"wrote {options.out} after {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
