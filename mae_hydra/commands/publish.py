"""`mae-hydra publish`: a trained model as a folder that is ready for upload, with a model card."""

import argparse
from pathlib import Path

from mae_hydra.launching.importing import importing


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run directory, or a checkpoint file")
    parser.add_argument("folder", type=Path, help="where to write; a new folder, or one that was published in before")
    parser.add_argument("--last", action="store_true", help="of a run the last checkpoint, not the best")


def run(options: argparse.Namespace) -> int:
    with importing():
        from mae_hydra.workflows.publish import CARD, publish

    done = publish(options.run, options.folder, "last" if options.last else "best")
    print(f"{done.folder}: {done.size / 1e6:.1f} MB of weights, config.json and {CARD}")
    if done.kept_card:
        print(f"note: {done.folder / CARD} has been edited and is left as it is; remove it to have it written anew")
    print(f"choose a license in {CARD}; then, for instance: hf upload <org>/<name> {done.folder}")
    return 0
