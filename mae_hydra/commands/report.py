"""`mae-hydra report`: curves, figures, pictures and tables of a run or a sweep as one page."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="a run, or a sweep; both may be under way")
    parser.add_argument("--out", type=Path, help="where to write (default: report/ in that directory)")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.report import write_report

    path = write_report(options.directory, options.out)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB): one file, to look at or to mail; its figures lie beside it")
    return 0
