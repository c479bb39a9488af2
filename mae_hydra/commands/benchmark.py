"""`mae-hydra benchmark`: what a model costs, beside others, and the results row of a paper's table."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_hydra.errors import UserError

if TYPE_CHECKING:
    from mae_hydra.benchmark.report import Measured

WHAT = {
    "parts": "parameters and FLOPs of a model's parts: parts model=upernet_vitb data=ade20k",
    "step": "a training step, beside a peer where there is one: step model=mae_vitb data.batch_size=8",
    "inference": "a picture's classes, beside the window-at-a-time loop: inference [checkpoint] --size 512 683",
    "scaling": "a pre-training run on 8, 64 and 512 devices and a billion images, on paper: scaling [+experiment=…]",
    "results-row": "memory, fps, mIoU and mIoU(ms+flip): results-row <checkpoint> data=ade20k data.root=…",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"{name:12} {line}" for name, line in WHAT.items())
    parser.add_argument("what", choices=tuple(WHAT))
    parser.add_argument("words", nargs="*", help="overrides; for inference and results-row a checkpoint first")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=[512, 683], metavar=("H", "W"), help="of the picture")
    parser.add_argument("--alone", action="store_true", help="of inference: without the loop that it stands beside")
    parser.add_argument("--shares", action="store_true", help="of inference: also without each of its shortcuts")
    parser.add_argument(
        "--images", type=int, default=200, help="pictures that fps is taken over (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="all numbers as JSON")


def run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from mae_hydra.experiment.status import write_json

    for name, least in (("rounds", 1), ("images", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} must be at least {least}, got {getattr(options, name)}")
    if min(options.size) < 1:
        raise UserError(f"--size takes height and width in pixels, got {options.size}")
    if options.what == "scaling":
        from mae_hydra.benchmark.scaling_report import report

        shown: Any
        shown, numbers = report(options.words)
    else:
        measured = _measure(options)
        shown, numbers = measured.table, measured.numbers
    Console().print(shown)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, numbers)
    return 0


def _measure(options: argparse.Namespace) -> "Measured":
    from mae_hydra.benchmark import report

    words, checkpoint = list(options.words), None
    if words and "=" not in words[0] and not words[0].startswith("+"):
        checkpoint = Path(words.pop(0))
    if options.what == "results-row":
        if checkpoint is None:
            raise UserError("results-row needs a run or a checkpoint: mae-hydra benchmark results-row <run>")
        return report.results_row(checkpoint, words, options.images)
    if options.what == "inference":
        size = (options.size[0], options.size[1])
        return report.inference(checkpoint, words, size, options.rounds, alone=options.alone, shares=options.shares)
    if checkpoint is not None:
        raise UserError(f"{options.what} takes overrides only, such as model=upernet_vitb; got {checkpoint}")
    return report.parts(words) if options.what == "parts" else report.step(words, options.rounds)
