"""What happened to every tensor when weights were loaded, short enough to read."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from mae_hydra.distributed import is_main
from mae_hydra.names import clean
from mae_hydra.terminal import plain_console

log = logging.getLogger("mae_hydra")

STYLES = {"loaded": "green", "resized": "cyan", "new": "yellow", "unused": "dim"}
MEANING = {
    "loaded": "taken from the file",
    "resized": "taken from the file and resized",
    "new": "not in the file, freshly initialized",
    "unused": "in the file only",
}


class Row(NamedTuple):
    """One tensor. `status`: "loaded", "resized", "new" or "unused"; `note`: what was changed or assumed."""

    name: str
    status: str
    note: str = ""


@dataclass(frozen=True)
class TransferReport:
    """Every tensor of the model, in its order, then those that only the file has. `remarks`: of no single tensor."""

    source: str
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()

    def names(self, status: str) -> list[str]:
        return [row.name for row in self.rows if row.status == status]

    def taken(self) -> list[str]:
        """Names of all that came from the file."""
        return [*self.names("loaded"), *self.names("resized")]

    def lines(self) -> list[str]:
        """One line per tensor, nothing collapsed."""
        return [f"{row.status:8} {row.name} {row.note}".rstrip() for row in self.rows]

    def table(self) -> Table:
        """A few rows that still name every tensor: blocks.0-11, and names that share their beginning in braces."""
        table = Table(title=f"Weights from {clean(self.source)}", title_justify="left")
        for column in ("", "module"):
            table.add_column(column, no_wrap=True)
        table.add_column("tensors", overflow="fold")
        table.add_column("count", justify="right")
        for status, style in STYLES.items():
            rows = [row for row in self.rows if row.status == status]
            for (module, note), names in _grouped(rows).items():
                shown = "\n".join(map(clean, collapse(names))) + (f"  ({clean(note)})" if note else "")
                table.add_row(status, clean(module), shown, str(len(names)), style=style)
            if rows:
                table.add_section()
        return table

    def summary(self) -> str:
        counts = {status: len(self.names(status)) for status in STYLES}
        return ", ".join(f"{count} {status} ({MEANING[status]})" for status, count in counts.items() if count)

    def show(self, console: Console | None = None) -> None:
        """The table on the console, every single tensor in the log; by the main process only."""
        if not is_main():
            return
        console = console or plain_console()
        console.print(self.table())
        console.print(self.summary(), highlight=False)
        for remark in self.remarks:
            console.print(f"note: {remark}", highlight=False, markup=False)
        log.info("weights from %s: %s\n%s", self.source, self.summary(), "\n".join([*self.remarks, *self.lines()]))


def collapse(names: Iterable[str]) -> list[str]:
    """0.a.weight 0.a.bias 1.a.weight 1.a.bias -> 0-1.a.{weight, bias}. Every name can be read back from the result."""
    numbers: dict[str, list[int]] = {}
    for name in names:
        pattern, number = _split_number(name)
        numbers.setdefault(pattern, []).append(number)
    endings: dict[str, list[str]] = {}
    for pattern, of_pattern in numbers.items():
        stem, _, ending = pattern.replace("#", _ranges(of_pattern), 1).rpartition(".")
        endings.setdefault(stem, []).append(ending)
    stems: dict[tuple[str, ...], list[str]] = {}
    for stem, found_endings in endings.items():
        stems.setdefault(tuple(found_endings), []).append(stem)
    return [".".join(filter(None, [_common(group), _braces(ending)])) for ending, group in stems.items()]


def _common(stems: Sequence[str]) -> str:
    """Stems in braces, behind what they all begin with."""
    heads = {stem.partition(".")[0] for stem in stems}
    if len(stems) > 1 and len(heads) == 1 and all("." in stem for stem in stems):
        return f"{heads.pop()}.{_common([stem.partition('.')[2] for stem in stems])}"
    return _braces(stems)


def _braces(alternatives: Sequence[str]) -> str:
    return alternatives[0] if len(alternatives) == 1 else "{" + ", ".join(alternatives) + "}"


def _grouped(rows: Sequence[Row]) -> dict[tuple[str, str], list[str]]:
    """Names within their module, by (module, note); the blocks of an encoder or decoder count as a module."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        match = re.match(r"(\w+\.blocks|\w+)\.(.+)", row.name)
        module, inner = match.groups() if match else ("", row.name)
        groups.setdefault((module, row.note), []).append(inner)
    return groups


def _split_number(name: str) -> tuple[str, int]:
    """The name with its first number as '#', and that number (-1 where there is none)."""
    match = re.search(r"\b\d+\b", name)
    if match is None:
        return name, -1
    return f"{name[: match.start()]}#{name[match.end() :]}", int(match[0])


def _ranges(numbers: Sequence[int]) -> str:
    """0, 1, 2, 5 -> "0-2+5"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return "+".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
