"""`mae-hydra replay`: any step of a run again, with its pictures, its loss and its gradients."""

import argparse
from pathlib import Path

from mae_hydra.launching.importing import importing


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument(
        "words",
        nargs="*",
        help="step=N, counted from 1 as in metrics.jsonl; and where the images are now: data.root=…",
    )


def run(options: argparse.Namespace) -> int:
    with importing():
        from mae_hydra.workflows.replay import replay

    replay(options.run, options.words)
    return 0
