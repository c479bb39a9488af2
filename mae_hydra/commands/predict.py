"""`mae-hydra predict`: class maps and overlays of one's own pictures, or reconstructions of a masked autoencoder."""

import argparse
import sys
from pathlib import Path

from mae_hydra.errors import UserError
from mae_hydra.launching.importing import importing
from mae_hydra.names import clean


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", help="a run directory, or a checkpoint in any known layout, or an address (convert --known)"
    )
    parser.add_argument("images", nargs="+", help="pictures of any size and kind, folders, or patterns in quotes")
    parser.add_argument("--out", type=Path, required=True, help="where to write")
    parser.add_argument(
        "--inference",
        choices=("slide", "whole", "multiscale_flip"),
        help="how a UPerNet looks at a picture (default: slide)",
    )
    parser.add_argument("--probabilities", action="store_true", help="the five most likely classes of every pixel too")
    parser.add_argument(
        "--as-stored",
        action="store_true",
        help="class maps with the numbers of the data set (data.reduce_zero_label, data.values) instead of 0, 1, …; "
        "labels/classes.json tells them either way",
    )
    parser.add_argument("--batch", type=int, default=1, help="pictures looked at together (default: %(default)s)")
    parser.add_argument("--mask-ratios", help="of a masked autoencoder (default: 0.5,0.75,0.9)")
    parser.add_argument("--seeds", help="of what a masked autoencoder does not see, a row for each (default: 0)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16", "fp16"),
        help="auto: bf16 on CUDA, and for wide models (ViT-B) on processors with matrix units, else fp32",
    )
    parser.add_argument(
        "--range",
        help="LOW,HIGH: what becomes black and white of pictures of more than 8 bits (default: as in training)",
    )
    parser.add_argument("--limit", type=int, help="at most so many pictures")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace what an earlier prediction wrote")
    there.add_argument("--skip-existing", action="store_true", help="go on where an earlier prediction was stopped")


def run(options: argparse.Namespace) -> int:
    with importing():
        from mae_hydra.workflows.predict import Options, predict

    try:
        ratios = options.mask_ratios and tuple(float(ratio) for ratio in options.mask_ratios.split(","))
        seeds = options.seeds and tuple(int(seed) for seed in options.seeds.split(","))
        limits = options.range and tuple(float(limit) for limit in options.range.split(","))
    except ValueError as error:
        raise UserError(f"--mask-ratios, --seeds and --range take numbers with commas between: {error}") from error
    if limits and not (len(limits) == 2 and limits[0] < limits[1]):
        raise UserError(f"--range takes LOW,HIGH with LOW < HIGH, got {options.range}")
    if not all(0 < ratio < 1 for ratio in ratios or ()):
        raise UserError(f"--mask-ratios must lie between 0 and 1, got {options.mask_ratios}")
    for name in ("limit", "batch"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}")
    chosen = Options(
        out=options.out,
        inference=options.inference,
        probabilities=options.probabilities,
        batch=options.batch,
        device=options.device,
        precision=options.precision,
        limit=options.limit,
        overwrite=options.overwrite,
        skip_existing=options.skip_existing,
        mask_ratios=ratios,
        seeds=seeds,
        as_stored=options.as_stored,
        range=limits,
    )
    try:
        outcome = predict(options.checkpoint, options.images, chosen)
    except KeyboardInterrupt:
        print("stopped; what is written is whole, and the same command with --skip-existing goes on", file=sys.stderr)
        return 130
    folders = sorted({str(options.out / file.relative_to(options.out).parts[0]) for file in outcome.written})
    print(f"{_counted(len(outcome.written), 'file')} written to {', '.join(folders) or options.out}")
    if outcome.skipped:
        print(f"{_counted(outcome.skipped, 'picture')} predicted before")
    for _, reason in outcome.failed:
        print(f"error: {clean(reason)}", file=sys.stderr)
    if outcome.failed:
        print(f"{_counted(len(outcome.failed), 'picture')} could not be read", file=sys.stderr)
    return 1 if outcome.failed else 0


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
