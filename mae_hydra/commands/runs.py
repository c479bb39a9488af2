"""`mae-hydra runs`: one table of every run and sweep below a folder, sorted and filtered."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_hydra.names import clean, shortened
from mae_hydra.terminal import ago, plain_console

if TYPE_CHECKING:
    from mae_hydra.experiment.many.listing import Row, Sweep

DEFAULT = Path("outputs")
SORTS = ("started", "best", "last", "name", "state", "step", "size", "took")
WIDE = 130  # letters of a line, from which on what was typed has a column of its own
HEAD = ("task", "state", "metric", "step", "best", "last", "age", "size")
METRIC = HEAD.index("metric")  # where the console is narrow, it stands with what was typed


def arguments(parser: argparse.ArgumentParser) -> None:
    take_selection(parser)
    parser.add_argument("--sort", choices=SORTS, default="started", help="default: %(default)s, the newest first")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--most", type=int, metavar="N", help="only the first N of them")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, a list of rows")
    form.add_argument("--csv", action="store_true", help="as CSV")


def take_selection(parser: argparse.ArgumentParser) -> None:
    """The words of every command about many runs: a folder, and filters."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="FOLDER | FILTER",
        help=f"a folder (default: {DEFAULT}/), and filters that must all hold: task=segment, state=dead, "
        "'val/mIoU>30', model.mask_ratio=0.75, 'age<2d', 'name=*demo*'",
    )


def selection(words: Sequence[str]) -> "tuple[Path, list[Row]]":
    """The folder, and the runs at or below it that the filters take."""
    from mae_hydra.errors import UserError
    from mae_hydra.experiment.many.filters import Filter, chosen
    from mae_hydra.experiment.many.listing import list_runs

    folders = [word for word in words if Path(word).is_dir()]
    if len(folders) > 1:
        raise UserError(f"one folder at a time, got {', '.join(folders)}; give one above them all")
    folder = Path(folders[0]) if folders else DEFAULT
    filters = [Filter.of(word) for word in words if word not in folders]
    return folder, chosen(list_runs(folder), filters)


def run(options: argparse.Namespace) -> int:
    from mae_hydra.experiment.many.listing import sweeps_of

    folder, rows = selection(options.words)
    rows = sort(rows, options.sort, options.reverse)
    shown = rows[: options.most]
    if options.json:
        print(json.dumps([row.facts() for row in shown], indent=1))
    elif options.csv:
        write_csv(shown)
    elif not rows:
        print(f"no run at or below {clean(folder)} is like that")
    else:
        show(shown, sweeps_of(rows), left_out=len(rows) - len(shown))
    return 0


def sort(rows: Sequence["Row"], by: str, reverse: bool) -> list["Row"]:
    """By a column; of scores the better ones first, metric by metric, and those without one last."""
    if by == "started":
        return list(reversed(rows)) if reverse else list(rows)

    def place(row: "Row") -> tuple[Any, ...]:
        value: Any = {"name": row.name, "state": row.state}.get(by, getattr(row, by, None))
        if by in ("best", "last") and value is not None:
            value = -value if row.run.higher_is_better else value
        elif by in ("step", "size", "took") and value is not None:
            value = -value
        metric = row.run.monitor if by in ("best", "last") else ""
        return metric, value is None, value if value is not None else 0

    ordered = sorted(rows, key=place)
    return ordered[::-1] if reverse else ordered


def write_csv(rows: Sequence["Row"]) -> None:
    table = [row.facts() for row in rows]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(table[0]) if table else ["name"])
    writer.writeheader()
    writer.writerows(row | {"typed": " ".join(row["typed"])} for row in table)


def show(rows: Sequence["Row"], sweeps: Sequence["Sweep"], left_out: int) -> None:
    """A line a run, or two where the console is narrow; nothing is cut where the lines go into a file or a pipe."""
    from mae_hydra.experiment.many.listing import common_words, own_words

    width = plain_console().width if sys.stdout.isatty() or "COLUMNS" in os.environ else None
    shared = common_words(rows)
    words = own_words(rows)
    cells = [HEAD, *(_cells(row) for row in rows)]
    one_line = width is None or width >= WIDE
    if not one_line:
        words = [", ".join(filter(None, pair)) for pair in zip((row.metric for row in rows), words, strict=True)]
        cells = [line[:METRIC] + line[METRIC + 1 :] for line in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    facts = ["  ".join(_placed(line, widths)) for line in cells]
    names = ["run", *(clean(row.name) for row in rows)]
    longest = max(map(len, names))
    if width is not None:
        longest = min(longest, max(12, width - len(facts[0]) - 2 if not one_line else int(0.4 * width)))
    left = width and max(10, width - longest - len(facts[0]) - 4 if one_line else width - 2)
    reasons = ["", *(clean(row.why) for row in rows)]
    typed_head = "typed for it alone" if shared else "typed"
    for name, told, typed, why in zip(names, facts, [typed_head, *words], reasons, strict=True):
        line = f"{shortened(name, longest).ljust(longest)}  {told}"
        more = clean(typed) if left is None or len(clean(typed)) <= left else clean(typed)[: left - 1] + "…"
        more += f"  [{why}]" if why and left is None else ""
        print(f"{line}  {more}".rstrip() if one_line else line)
        if not one_line and more and name != "run":
            print(f"  {more}")
        if width is not None and why:
            print(f"  {shortened(why, max(10, width - 2))}")
    if shared:
        print(f"typed for all: {clean(' '.join(shared))}")
    for sweep in sweeps:
        best = sweep.best
        score = "" if best is None else f"; best {best.run.monitor} {_at(best.last, best.last_step)}"
        found = "" if best is None else f"{score}: {clean(Path(best.name).name)}"
        print(f"sweep {clean(sweep.name)}: {sweep.states}{found}")
    if left_out:
        print(f"… and {left_out} more")


def _placed(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Texts left, numbers right."""
    pairs = list(zip(line, widths, strict=True))
    texts = len(line) - 5
    return [cell.ljust(size) for cell, size in pairs[:texts]] + [cell.rjust(size) for cell, size in pairs[texts:]]


def _cells(row: "Row") -> tuple[str, ...]:
    from rich.filesize import decimal

    scores = ((row.best, row.best_step), (row.last, row.last_step))
    numbers = (_number(row.step), *(_at(value, None if step == row.step else step) for value, step in scores))
    return clean(row.task), row.state, clean(row.metric.removeprefix("val/")), *numbers, ago(row.age), decimal(row.size)


def _at(value: float | None, step: int | None) -> str:
    """A score and the step at which it was measured."""
    return _number(value) if step is None else f"{_number(value)} @{step}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
