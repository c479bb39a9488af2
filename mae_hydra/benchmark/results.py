"""What a measurement shows and what it leaves: a table for the screen, and all numbers for a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from mae_hydra.benchmark.machine import describe_machine, in_words
from mae_hydra.benchmark.timing import Timing
from mae_hydra.engine import Settings
from mae_hydra.products import taken


@dataclass(frozen=True)
class Measured:
    """`table` and `more` tables for the screen; `numbers` for a file, the machine among them."""

    table: Table
    numbers: dict[str, Any]
    more: Sequence[Table] = ()


@dataclass(frozen=True)
class Floor:
    """What the work cannot be done without: `seconds`, and how that was found out."""

    name: str
    seconds: float


def timing_table(
    title: str,
    timings: Mapping[str, Timing],
    items: float,
    unit: str,
    floor: Floor | None = None,
    more: tuple[str, Mapping[str, str]] | None = None,
) -> Table:
    """A row for each candidate, the first being ours: how long, how much of `unit` a second, and how many times ours.

    `items`: how many a call works on. With a `floor` its row, below which nobody can go. `more`: the name of another
    column, and what it has for some candidates.
    """
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("", "median s", "95 % s", unit, "ratio", *([more[0]] if more else [])):
        table.add_column(name, justify="left" if not name else "right")
    ours = next(iter(timings.values())).median
    for name, timing in timings.items():
        rate = f"{items / timing.median:.2f}"
        row = (_seconds(timing.median), _seconds(timing.percentile(95)), rate, _ratio(timing.median, ours))
        table.add_row(name, *row, *([more[1].get(name, "")] if more else []))
    if floor is not None:
        rate = f"{items / floor.seconds:.2f}"
        table.add_row(f"lower bound: {floor.name}", _seconds(floor.seconds), "", rate, _ratio(floor.seconds, ours))
    rounds = len(next(iter(timings.values())).seconds)
    table.caption = f"{in_words(describe_machine())}; {in_rounds(rounds)}"
    return table


def whose_products(settings: Settings) -> str:
    """What a caption says of the library that ours multiplies by, where it is not that of the others."""
    differs = settings.torch_device.type == "cpu" and taken() == "onednn"
    return "; ours multiplies fp32 by oneDNN, others as torch decides" if differs else ""


def in_rounds(rounds: int) -> str:
    """How often each was measured, in words."""
    return "one round" if rounds == 1 else f"medians of {rounds} alternating rounds"


def timing_numbers(name: str, measured: Mapping[str, Timing], floor: Floor | None = None) -> dict[str, Any]:
    """Put the numbers of `timing_table` into plain values, for a file."""
    timings = {key: {"median": timing.median, "seconds": list(timing.seconds)} for key, timing in measured.items()}
    below = {} if floor is None else {"floor": {"name": floor.name, "seconds": floor.seconds}}
    return {"model": name, "timings": timings, "machine": describe_machine()} | below


def gigabytes(count: int | None) -> str:
    """Write bytes as `1.23 GB`."""
    return "unknown" if count is None else f"{count / 1e9:.2f} GB"


def gigabytes_column(what: str, taken: Mapping[str, int | None]) -> tuple[str, dict[str, str]]:
    """A column of `timing_table` with the bytes of each."""
    return f"{what}, GB", {name: gigabytes(count).removesuffix(" GB") for name, count in taken.items()}


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value >= 0.1 else f"{value:.5f}"


def _ratio(value: float, ours: float) -> str:
    return f"{value / ours:.2f}"
