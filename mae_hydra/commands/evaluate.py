"""`mae-hydra evaluate`: the scores of a run or of any known checkpoint, on any data, by any protocol."""

import argparse
from pathlib import Path

from mae_hydra.errors import UserError
from mae_hydra.launching.importing import importing


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", help="a run directory, or a checkpoint in any known layout, or an address (convert --known)"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        help="what differs from the run: inference=multiscale_flip, data=ade20k data.root=…, "
        "evaluation.validation.limit=100; split=test or split=train: those images in place of the validation's",
    )
    parser.add_argument("--out", type=Path, help="where to write (default: evaluations/ in the run, or in outputs/)")
    parser.add_argument(
        "--config-dir", type=Path, action="append", default=[], help="a folder with option files of your own, for words"
    )
    parser.add_argument("--last", action="store_true", help="of a run the last checkpoint, not the best")


def run(options: argparse.Namespace) -> int:
    with importing():
        from mae_hydra.distributed import is_main
        from mae_hydra.workflows.evaluate import evaluate
        from mae_hydra.workflows.evaluation_report import show

    for folder in options.config_dir:
        if not folder.is_dir():
            raise UserError(f"--config-dir {folder} is no folder; give the one that holds your data/, inference/, …")
    prefer = "last" if options.last else "best"
    results = evaluate(options.checkpoint, options.overrides, options.out, prefer, options.config_dir)
    if is_main():
        if results.get("already_complete"):
            print("already complete, nothing to do:")
        show(results, Path(results["folder"]))
    return 0
