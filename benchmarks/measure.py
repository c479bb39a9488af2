"""What this project costs, measured again: `python benchmarks/measure.py WHAT [overrides]`, in a clone of it.

What a model of yours costs, `mae-hydra benchmark` says.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from mae_hydra.benchmark.results import Measured
from mae_hydra.benchmark.verbs import composed, training_step
from mae_hydra.configuration.construct import build
from mae_hydra.engine import Settings
from mae_hydra.errors import UserError
from mae_hydra.experiment.status import write_json
from mae_hydra.figures import save
from mae_hydra.terminal import plain_console

WHAT = {
    "metrics": "a picture into the confusion matrix, beside torchmetrics: metrics --size 512 683 [data=ade20k]",
    "checkpoint": "writing and reading a run's state, beside plain torch: checkpoint model=mae_vitb",
    "start-up": "from the command line to an answer, and to the end of a smoke run",
    "growth": "cost per image against image size, batch, mask ratio, classes, processes: growth --out growth.json",
    "kinds": "where a training step's time goes on the CPU, by precision: kinds model=mae_vitb data=imagenet",
    "large": "peak memory and processor time of class maps of 24 and 100 megapixels: large [predict]",
    "runs": "a sweep of many jobs of one step, and the table and the page of as many runs: runs [1000]",
    "scaling": "a pre-training run on 8, 64 and 512 devices and a billion images, on paper: scaling [+experiment=…]",
}


def metrics(words: list[str], size: tuple[int, int], rounds: int) -> Measured:
    """A picture's predictions into the confusion matrix, with the classes and on the device that `words` say."""
    from counting import counting

    chosen = [] if any(word.startswith("model=") for word in words) else ["model=upernet_vitb"]
    config = composed([*chosen, *words])
    settings: Settings = build(config.engine, "engine")
    return counting(size, config.data.num_classes, rounds, settings.torch_device)


def checkpoint(words: list[str], rounds: int) -> Measured:
    """A run's state to the disk of the working directory and back."""
    from saving import saving

    config = composed(words)
    settings: Settings = build(config.engine, "engine")
    work, _, _ = training_step(config, settings)
    return saving(work.state.model, work.state.optimizer, settings, config.name, rounds)


def measured(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """A table for the screen and all numbers."""
    if options.what == "metrics":
        found = metrics(options.words, (options.size[0], options.size[1]), options.rounds)
    elif options.what == "checkpoint":
        found = checkpoint(options.words, options.rounds)
    elif options.what == "start-up":
        from starting import starting

        found = starting(options.rounds)
    elif options.what == "growth":
        from growth import growths

        found, figure = growths(options.rounds, options.words)
        if options.out is not None:
            save(figure, options.out.with_suffix(".png"))
    elif options.what == "kinds":
        from kinds import kinds

        found = kinds(options.words, options.rounds)
    elif options.what == "large":
        from large import SIZES, large

        if unknown := set(options.words) - set(SIZES):
            raise UserError(f"large measures {', '.join(SIZES)}, got {unknown.pop()}")
        found = large({kind: SIZES[kind] for kind in options.words or SIZES})
    elif options.what == "runs":
        from many_runs import many_runs

        jobs = options.words or ["100"]
        if len(jobs) != 1 or not jobs[0].isdecimal() or jobs[0] == "0":
            raise UserError(f"runs takes a number of jobs, got {' '.join(jobs)}")
        found = many_runs(int(jobs[0]))
    else:
        from scaling_report import report

        return report(options.words)
    return found.table, found.numbers


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "\n".join(f"{name:12} {line}" for name, line in WHAT.items())
    parser.add_argument("what", choices=tuple(WHAT))
    parser.add_argument("words", nargs="*", help="overrides")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=[512, 683], help="of the picture")
    parser.add_argument("--out", type=Path, help="all numbers as JSON; of growth also the figure, as PNG beside it")
    options = parser.parse_intermixed_args(words)
    try:
        shown, numbers = measured(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    plain_console().print(shown)
    if options.out is not None:
        write_json(options.out, numbers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
