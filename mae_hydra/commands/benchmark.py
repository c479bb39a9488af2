"""`mae-hydra benchmark`: what a model costs, beside others, and the results row of a paper's table."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mae_hydra.errors import UserError

if TYPE_CHECKING:
    from mae_hydra.benchmark.results import Measured

WHAT = {
    "parts": "parameters and FLOPs of a model's parts: parts model=upernet_vitb data=ade20k",
    "step": "a training step beside how others write it, and its lower bound: step model=mae_vitb data.batch_size=8",
    "inference": "a picture's classes, beside the window-at-a-time loop: inference [checkpoint] --size 512 683",
    "loading": "photos to training crops on one core and with processes, beside others: loading --size 375 500",
    "results-row": "memory, fps, mIoU and mIoU(ms+flip): results-row <checkpoint> data=ade20k data.root=…",
}


OF_THE_PROJECT = ("metrics", "checkpoint", "start-up", "growth", "scaling")  # which measure no model of a person's
DEFAULTS = {"rounds": 5, "size": [512, 683], "alone": False, "shares": False, "images": 200}
PHOTOS = 32  # that loading takes, unless a person says how many
TAKES = {  # which of these a benchmark looks at, besides --rounds, which all take: what is only counted needs one
    "parts": (),
    "step": ("alone",),
    "inference": ("size", "alone", "shares"),
    "loading": ("size", "images"),
    "results-row": ("images",),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"{name:12} {line}" for name, line in WHAT.items())
    parser.add_argument("what", choices=(*WHAT, *OF_THE_PROJECT), metavar=f"{{{','.join(WHAT)}}}")
    parser.add_argument(
        "words", nargs="*", help="overrides; of a run or checkpoint (parts, step, inference, results-row) it first"
    )
    parser.add_argument("--rounds", type=int, help=f"alternating rounds (default: {DEFAULTS['rounds']})")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="size of the picture (default: 512 683)")
    parser.add_argument("--alone", action="store_true", default=None, help="step, inference: nothing beside it")
    parser.add_argument("--shares", action="store_true", default=None, help="inference: also without each shortcut")
    parser.add_argument(
        "--images",
        type=int,
        help=f"pictures that fps or loading is taken over (default: {DEFAULTS['images']}; loading: {PHOTOS})",
    )
    parser.add_argument("--out", type=Path, help="all numbers as JSON")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.experiment.status import write_json
    from mae_hydra.terminal import plain_console

    if options.what in OF_THE_PROJECT:
        raise UserError(
            f"{options.what} measures this project and no model of yours: python benchmarks/measure.py {options.what}, "
            "in a clone of the repository"
        )
    for name, default in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, PHOTOS if (name, options.what) == ("images", "loading") else default)
        elif name not in ("rounds", *TAKES[options.what]):
            takes = " and ".join(f"--{each}" for each in ("rounds", *TAKES[options.what]))
            raise UserError(f"--{name} changes nothing of benchmark {options.what}, which takes {takes}; leave it out")
    for name, least in (("rounds", 1), ("images", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} must be at least {least}, got {getattr(options, name)}")
    if min(options.size) < 1:
        raise UserError(f"--size takes height and width in pixels, got {options.size}")
    measured = _measure(options)
    for table in (measured.table, *measured.more):
        plain_console().print(table)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, measured.numbers)
    return 0


def _measure(options: argparse.Namespace) -> "Measured":
    from mae_hydra.benchmark import verbs
    from mae_hydra.recorded.configuration import names_weights
    from mae_hydra.weights import is_address

    words, checkpoint = list(options.words), None
    if words and (is_address(words[0]) or ("=" not in words[0] and not words[0].startswith("+"))):
        checkpoint = words.pop(0)
    if options.what in ("results-row", "inference"):
        return _of_pictures(options, checkpoint, words)
    if options.what == "loading":
        from mae_hydra.benchmark.loading import loading

        if options.words:
            raise UserError(f"loading takes no overrides, got {options.words[0]}")
        return loading((options.size[0], options.size[1]), options.images, options.rounds)
    if checkpoint is not None and not names_weights(checkpoint):
        raise UserError(
            f"{options.what} takes overrides only, such as model=upernet_vitb, or a run that is there; got {checkpoint}"
        )
    words = words if checkpoint is None else [checkpoint, *words]
    return verbs.parts(words) if options.what == "parts" else verbs.step(words, options.rounds, alone=options.alone)


def _of_pictures(options: argparse.Namespace, checkpoint: str | None, words: list[str]) -> "Measured":
    from mae_hydra.benchmark import pictures

    if options.what == "results-row":
        if checkpoint is None:
            raise UserError("results-row needs a run or a checkpoint: mae-hydra benchmark results-row <run>")
        return pictures.results_row(checkpoint, words, options.images)
    size = (options.size[0], options.size[1])
    return pictures.inference(checkpoint, words, size, options.rounds, alone=options.alone, shares=options.shares)
