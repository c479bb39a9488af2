"""`mae-hydra evaluate`: the scores of a run or of any known checkpoint, on any data, by any protocol."""

import argparse
from pathlib import Path

from mae_hydra.experiment.importing import importing


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="a run directory, or a checkpoint in any known layout")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="what differs from the run: inference=multiscale_flip, data=ade20k data.root=…, "
        "evaluation.validation.limit=100",
    )
    parser.add_argument("--out", type=Path, help="where to write (default: evaluations/ in the run, or in outputs/)")
    parser.add_argument("--last", action="store_true", help="of a run the last checkpoint, not the best")


def run(options: argparse.Namespace) -> int:
    with importing():
        from mae_hydra.distributed import is_main
        from mae_hydra.experiment.evaluate import evaluate
        from mae_hydra.experiment.evaluation_report import show

    results = evaluate(options.checkpoint, options.overrides, options.out, "last" if options.last else "best")
    if is_main():
        if results.get("already_complete"):
            print("already complete, nothing to do:")
        show(results, Path(results["folder"]))
    return 0
