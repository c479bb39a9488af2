"""`mae-hydra diff`: what differs between two runs."""

import argparse
from pathlib import Path

from mae_hydra.names import clean


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, help="a run directory")
    parser.add_argument("second", type=Path, help="another one")


def run(options: argparse.Namespace) -> int:
    from rich.table import Table

    from mae_hydra.experiment.compare import compare
    from mae_hydra.terminal import plain_console

    found = compare(options.first, options.second)
    if not found:
        print("nothing differs but where and when they ran")
        return 0
    table = Table(show_lines=False)
    for column in ("", "key", clean(options.first.name), clean(options.second.name)):
        table.add_column(column, overflow="fold")
    part = None
    for difference in found:
        if part is not None and difference.part != part:
            table.add_section()
        name = "" if difference.part == part else difference.part
        table.add_row(name, clean(difference.key), _shown(difference.first), _shown(difference.second))
        part = difference.part
    plain_console().print(table)
    return 0


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else clean(value)
