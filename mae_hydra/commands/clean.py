"""`mae-hydra clean`: what of many runs can go; it deletes only with --yes."""

import argparse
import sys

from mae_hydra.commands.runs import selection, take_selection
from mae_hydra.names import clean


def arguments(parser: argparse.ArgumentParser) -> None:
    take_selection(parser)
    parser.add_argument("--yes", action="store_true", help="delete it; without, it is only told")


def run(options: argparse.Namespace) -> int:
    from rich.filesize import decimal

    from mae_hydra.experiment.many.clean import proposals, remove

    folder, rows = selection(options.words)
    found = proposals(rows, folder)
    if not found:
        print(f"nothing of the {len(rows)} runs at or below {clean(folder)} can go")
        return 0
    free, failed = 0, 0
    for each in found:
        told = f"{decimal(each.size):>9}  {each.why}: {clean(each.path)}"
        try:
            gone = options.yes and remove(each)
        except OSError as error:
            failed += 1
            print(f"{told}: it stays ({error.strerror or error})", file=sys.stderr)
            continue
        print(told if gone or not options.yes else f"{told}: it stays, a process holds the run by now")
        free += each.size if gone or not options.yes else 0
    if options.yes:
        print(f"{decimal(free)} are free")
        return 1 if failed else 0
    print(f"{decimal(free)} in {len(found)} places can go; nothing was deleted: the same command with --yes does it")
    return 0
