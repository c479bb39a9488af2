"""`mae-hydra benchmark`: what a model costs, beside others, and the results row of a paper's table."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mae_hydra.errors import UserError

if TYPE_CHECKING:
    from mae_hydra.benchmark.measured import Measured

WHAT = {
    "parts": "parameters and FLOPs of a model's parts: parts model=upernet_vitb data=ade20k",
    "step": "a training step beside how others write it, and its floor: step model=mae_vitb data.batch_size=8",
    "inference": "a picture's classes, beside the window-at-a-time loop: inference [checkpoint] --size 512 683",
    "loading": "photos to training crops on one core, beside PIL and torchvision: loading --size 375 500",
    "metrics": "a picture into the confusion matrix, beside torchmetrics: metrics --size 512 683 [data=ade20k]",
    "checkpoint": "writing and reading a run's state, beside plain torch: checkpoint model=mae_vitb",
    "start-up": "from the command line to an answer, and to the end of a smoke run",
    "growth": "cost per image against image size, batch, mask ratio, classes, processes: growth --out growth.json",
    "scaling": "a pre-training run on 8, 64 and 512 devices and a billion images, on paper: scaling [+experiment=…]",
    "results-row": "memory, fps, mIoU and mIoU(ms+flip): results-row <checkpoint> data=ade20k data.root=…",
}


DEFAULTS = {"rounds": 5, "size": [512, 683], "alone": False, "shares": False, "images": 200}
TAKES = {  # which of these a benchmark looks at, besides --rounds, which all take: what is only counted needs one
    "parts": (),
    "step": ("alone",),
    "inference": ("size", "alone", "shares"),
    "loading": ("size", "images"),
    "metrics": ("size",),
    "checkpoint": (),
    "start-up": (),
    "growth": (),
    "scaling": (),
    "results-row": ("images",),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"{name:12} {line}" for name, line in WHAT.items())
    parser.add_argument("what", choices=tuple(WHAT))
    parser.add_argument(
        "words", nargs="*", help="overrides; of a run or checkpoint (parts, step, inference, results-row) it first"
    )
    parser.add_argument("--rounds", type=int, help=f"alternating rounds (default: {DEFAULTS['rounds']})")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="size of the picture (default: 512 683)")
    parser.add_argument("--alone", action="store_true", default=None, help="step, inference: nothing beside it")
    parser.add_argument("--shares", action="store_true", default=None, help="inference: also without each shortcut")
    parser.add_argument(
        "--images", type=int, help=f"pictures that fps or loading is taken over (default: {DEFAULTS['images']})"
    )
    parser.add_argument("--out", type=Path, help="all numbers as JSON; of growth also the figure, as PNG beside it")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.experiment.status import write_json
    from mae_hydra.terminal import plain_console

    for name, default in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
        elif name not in ("rounds", *TAKES[options.what]):
            takes = " and ".join(f"--{each}" for each in ("rounds", *TAKES[options.what]))
            raise UserError(f"--{name} changes nothing of benchmark {options.what}, which takes {takes}; leave it out")
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
    plain_console().print(shown)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, numbers)
    return 0


def _measure(options: argparse.Namespace) -> "Measured":
    from mae_hydra.benchmark import report
    from mae_hydra.recorded.configuration import names_weights
    from mae_hydra.weights import is_address

    words, checkpoint = list(options.words), None
    if words and (is_address(words[0]) or ("=" not in words[0] and not words[0].startswith("+"))):
        checkpoint = words.pop(0)
    if options.what in ("results-row", "inference"):
        return _of_pictures(options, checkpoint, words)
    of_a_run = options.what in ("parts", "step")
    if checkpoint is not None and not (of_a_run and names_weights(checkpoint)):
        or_a_run = ", or a run that is there" if of_a_run else ""
        raise UserError(f"{options.what} takes overrides only, such as model=upernet_vitb{or_a_run}; got {checkpoint}")
    words = words if checkpoint is None else [checkpoint, *words]
    if options.what == "parts":
        return report.parts(words)
    if options.what == "step":
        return report.step(words, options.rounds, alone=options.alone)
    return _of_the_machine(options, words)


def _of_pictures(options: argparse.Namespace, checkpoint: str | None, words: list[str]) -> "Measured":
    from mae_hydra.benchmark import pictures

    if options.what == "results-row":
        if checkpoint is None:
            raise UserError("results-row needs a run or a checkpoint: mae-hydra benchmark results-row <run>")
        return pictures.results_row(checkpoint, words, options.images)
    size = (options.size[0], options.size[1])
    return pictures.inference(checkpoint, words, size, options.rounds, alone=options.alone, shares=options.shares)


def _of_the_machine(options: argparse.Namespace, words: list[str]) -> "Measured":
    from mae_hydra.benchmark import report

    size = (options.size[0], options.size[1])
    if options.what == "loading":
        from mae_hydra.benchmark.loading import loading

        _no_overrides(options.what, words)
        return loading(size, min(options.images, 32), options.rounds)
    if options.what == "start-up":
        from mae_hydra.benchmark.starting import starting

        _no_overrides(options.what, words)
        return starting(options.rounds)
    if options.what == "metrics":
        return report.metrics(words, size, options.rounds)
    if options.what == "checkpoint":
        return report.checkpoint(words, options.rounds)
    from mae_hydra.benchmark.growth import growths
    from mae_hydra.figures import save

    measured, figure = growths(options.rounds, words)
    if options.out is not None:
        save(figure, options.out.with_suffix(".png"))
    return measured


def _no_overrides(what: str, words: list[str]) -> None:
    if words:
        raise UserError(f"{what} takes no overrides, got {words[0]}")
