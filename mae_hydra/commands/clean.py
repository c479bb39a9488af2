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
    proposed = proposals(rows, folder)
    if not proposed:
        print(f"nothing of the {len(rows)} runs at or below {clean(folder)} can go")
        return 0
    free, failed = 0, 0
    for place in proposed:
        line = f"{decimal(place.size):>9}  {place.why}: {clean(place.path)}"
        try:
            gone = options.yes and remove(place)
        except OSError as error:
            failed += 1
            print(f"{line}: it stays ({error.strerror or error})", file=sys.stderr)
            continue
        print(line if gone or not options.yes else f"{line}: it stays, a process holds the run by now")
        free += place.size if gone or not options.yes else 0
    if options.yes:
        print(f"{decimal(free)} are free")
        return 1 if failed else 0
    print(f"{decimal(free)} in {len(proposed)} places can go; nothing was deleted: the same command with --yes does it")
    return 0
