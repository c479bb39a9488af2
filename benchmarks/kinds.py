"""Where the time of a training step goes on the CPU, by kind of operation and by precision."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.results import Measured
from mae_hydra.benchmark.verbs import composed, training_step
from mae_hydra.configuration.construct import build
from mae_hydra.engine import Settings
from mae_hydra.errors import UserError

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own words: that it starts, that there is no GPU
PRECISIONS = ("fp32", "bf16", "bf16_params")
PRODUCTS = ("matrix products", "convolution", "fused attention")
CAST = "casts"
Operation = tuple[str, float]  # its kind and the milliseconds that it took itself
KINDS = {  # a piece of an operation's name -> its kind; the first that fits
    "convolution": ("conv",),
    "fused attention": ("scaled_dot_product", "flash_attention"),
    "matrix products": ("mm", "linear", "matmul", "einsum"),
    "layer and batch norm": ("norm",),
    "loss": ("log_softmax", "nll_loss", "cross_entropy"),
    "softmax": ("softmax",),
    "activations": ("gelu", "relu", "sigmoid"),
    "resizing and pooling": ("upsample", "pool"),
    "optimizer": ("adamw", "foreach"),
    "joining and taking": ("cat", "stack", "gather", "scatter", "index", "slice", "select"),
    "copies": ("copy", "clone", "contiguous", "fill", "zero", "empty"),
    "sums and factors": ("add", "sub", "mul", "div", "sum", "mean", "square", "pow"),
}


def kinds(words: Sequence[str], rounds: int) -> Measured:
    """Milliseconds of each kind in a step of the same model in each precision, or in the one that `words` name.

    The same operations follow one another in every round, and each counts with the least time of all rounds: what else
    the machine does meets now the one, now the other.
    """
    config = composed(words)
    settings: Settings = build(config.engine, "engine")
    if settings.torch_device.type != "cpu":
        raise UserError("kinds adds up times of the CPU; use engine=cpu")
    settings.apply()
    work, _, batch = training_step(config, settings)
    precisions = PRECISIONS if settings.precision == "auto" else (settings.precision,)
    found: dict[str, list[list[Operation]]] = {precision: [] for precision in precisions}
    for number in range(rounds + 1):  # the first one makes what stays
        for precision, counted in found.items():
            work.settings = replace(settings, precision=precision)
            if number:
                counted.append(_operations(work))
            else:
                work()
    least = {precision: _least(counted) for precision, counted in found.items()}
    title = f"{config.name}: a training step of {len(batch) * work.accumulate} images, ms by kind of operation"
    return Measured(_table(title, least, rounds), {"model": config.name, "machine": describe_machine()} | least)


def _table(title: str, times: dict[str, dict[str, float]], rounds: int) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("", *times):
        table.add_column(name, justify="right" if name else "left")

    def row(name: str, of: Callable[[dict[str, float]], float], **style: Any) -> None:
        table.add_row(name, *(f"{of(found):.1f}" for found in times.values()), **style)

    every = {kind: max(found.get(kind, 0.0) for found in times.values()) for kind in set().union(*times.values())}
    order = sorted(every, key=lambda kind: (kind not in PRODUCTS, -every[kind]))
    ends = (sum(kind in PRODUCTS for kind in order), len(order))  # of the products, and of all kinds
    for place, kind in enumerate(order, 1):
        row(kind, lambda found, kind=kind: found.get(kind, 0.0), end_section=place in ends)  # type: ignore[misc]
    rest = "all but products, convolutions, attention"
    row(rest, lambda found: sum(found.values()) - sum(found.get(kind, 0.0) for kind in PRODUCTS))
    row("all", lambda found: sum(found.values()))
    table.caption = (
        f"{in_words(describe_machine())}; each operation's least time of {rounds} in turn, by torch.profiler"
    )
    return table


def _operations(call: Callable[[], object]) -> list[Operation]:
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        call()
    return [(_kind(event), event.self_cpu_time_total / 1e3) for event in recorded.events() or ()]


def _least(rounds: list[list[Operation]]) -> dict[str, float]:
    found: Counter[str] = Counter()
    for same in zip(*rounds, strict=True):
        found[same[0][0]] += min(milliseconds for _, milliseconds in same)
    return dict(found)


def _kind(event: FunctionEvent) -> str:
    """Of an operation; what only leads to others (autograd, Python) is the rest."""
    name = event.name.lower()
    if not name.startswith(("aten::", "mkldnn::", "onednn::")):
        return "rest"
    if name == "aten::copy_" and event.cpu_parent is not None and event.cpu_parent.name == "aten::_to_copy":
        return CAST
    operation = name.partition("::")[2]
    return next((kind for kind, pieces in KINDS.items() if any(piece in operation for piece in pieces)), "rest")
