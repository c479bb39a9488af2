"""`mae-hydra report`: curves, figures, pictures and tables of a run, a sweep or a folder of runs as one page."""

import argparse
from pathlib import Path

PORT, EVERY = 8642, 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="a run, a sweep, or any folder of runs; all may be under way")
    parser.add_argument("--out", type=Path, help="where to write (default: report/ in that directory)")
    told = "of a folder: first the page of each run and sweep, where it is missing or older than the run"
    parser.add_argument("--pages", action="store_true", help=told)
    told = "show it in a browser of this machine instead, renewed while runs train; nothing is written"
    parser.add_argument("--serve", action="store_true", help=told)
    parser.add_argument("--port", type=int, default=PORT, help="for --serve (default: %(default)s; 0: any)")
    parser.add_argument("--every", type=int, default=EVERY, help="seconds, for --serve (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.report import write_report
    from mae_hydra.report.serve import serve

    if options.serve:
        serve(options.directory, options.port, max(1, options.every))
        return 0
    path = write_report(options.directory, options.out, with_pages=options.pages)
    size = max(path.stat().st_size / 1e6, 0.1)
    print(f"{path} ({size:.1f} MB): one file, to look at or to mail; its figures lie beside it")
    return 0
