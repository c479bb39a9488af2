"""`mae-hydra compare` and `mae-hydra diff`: what differs between runs, and what they found."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mae_hydra.names import clean
from mae_hydra.terminal import ago, plain_console

if TYPE_CHECKING:
    from mae_hydra.experiment.compare import Difference
    from mae_hydra.experiment.many.listing import Row

DEFAULT = Path("outputs/comparison")
NARROWEST = 9  # letters of a column
INDENT = "    "


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, two or more")
    parser.add_argument("--all", action="store_true", help="every key, also what only says again what another one says")
    if parser.prog.endswith("compare"):
        what = "where the page with the curves goes (default: %(default)s)"
        parser.add_argument("--out", type=Path, default=DEFAULT, help=what)


def run(options: argparse.Namespace) -> int:
    from mae_hydra.errors import UserError
    from mae_hydra.experiment.compare import compare, distinct
    from mae_hydra.experiment.many.listing import read_row
    from mae_hydra.report.comparison_page import names_of

    if len(options.runs) < 2:
        raise UserError(f"it takes two runs at least, got {options.runs[0]}")
    every = compare(options.runs)
    rows = [read_row(directory, directory.parent) for directory in options.runs]
    shown = every if options.all else distinct(every)
    names = names_of(options.runs)
    for line in _told(shown, rows, options.runs, names, with_found=options.verb == "compare"):
        print(line.rstrip())
    if len(shown) < len(every) and shown:
        print(f"\nand {len(every) - len(shown)} keys that follow from these, or that only some of the runs have: --all")
    if options.verb == "compare":
        from mae_hydra.report import write_comparison

        path = write_comparison(options.runs, options.out, trusted=options.out == DEFAULT)
        print(f"\ncurves in one plot, pictures and these tables: {path}")
    return 0


def _told(
    differences: Sequence["Difference"],
    rows: Sequence["Row"],
    directories: Sequence[Path],
    names: Sequence[str],
    *,
    with_found: bool,
) -> Iterator[str]:
    from mae_hydra.experiment.many.listing import own_words

    if not differences:
        yield "nothing differs but where and when they ran"
        if not with_found:
            return
    for name, directory, words in zip(names, directories, own_words(rows), strict=True):
        yield f"{name}: {clean(directory)}"
        yield f"{INDENT}{clean(words) or 'nothing but what was typed for all'}"
    parts: dict[str, list[tuple[str, list[str]]]] = {}
    for difference in differences:
        if difference.part != "typed":  # said above
            parts.setdefault(difference.part, []).append((difference.name, difference.shown))
    if with_found:
        parts["found"] = _found(rows)
    yield from _laid_out(parts, names, plain_console().width)


def _found(rows: Sequence["Row"]) -> list[tuple[str, list[str]]]:
    from mae_hydra.experiment.compare import shown

    monitors = {row.run.monitor for row in rows}
    of = f" {monitors.pop()}" if len(monitors) == 1 else ""
    scores = [("best", [row.best for row in rows]), ("last", [row.last for row in rows])]
    return [
        ("state", [row.state for row in rows]),
        ("steps", [shown(row.step) for row in rows]),
        *((f"{name}{of}", [shown(value) + ("" if of else f" {row.run.monitor}") for value, row in
          zip(values, rows, strict=True)]) for name, values in scores),
        ("wall time", [ago(row.took) for row in rows]),
    ]  # fmt: skip


def _laid_out(parts: dict[str, list[tuple[str, list[str]]]], names: Sequence[str], width: int) -> Iterator[str]:
    """Columns as wide as they have to be and can be; a row that does not fit stands below its key, a line a run."""
    keys = [key for rows in parts.values() for key, _ in rows]
    widest = [max(map(len, [name, *(values[n] for rows in parts.values() for _, values in rows)]))
              for n, name in enumerate(names)]  # fmt: skip
    left = min(max(map(len, keys), default=0), max(24, width // 3))
    room = max(NARROWEST, (width - left) // len(names) - 2)
    columns = [min(column, room) for column in widest]
    fits = left + sum(column + 2 for column in columns) <= width
    for part, rows in parts.items():
        yield ""
        heads = (f"  {name:<{size}}" for name, size in zip(names, columns, strict=True))
        yield f"{part:<{left}}{''.join(heads) if fits else ''}"
        for key, values in rows:
            if fits and len(key) <= left and all(map(lambda v, c: len(v) <= c, values, columns)):
                cells = "".join(f"  {value:<{size}}" for value, size in zip(values, columns, strict=True))
                yield f"{key:<{left}}{cells}"
            else:
                yield key
                yield from (f"{INDENT}{name}: {value}" for name, value in zip(names, values, strict=True))
