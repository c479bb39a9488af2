"""`mae-hydra convert`: any known checkpoint into any layout that can hold it, or a look at what a file is."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mae_hydra.errors import UserError
from mae_hydra.launching.importing import importing

if TYPE_CHECKING:
    from mae_hydra.weights import Checkpoint

TARGETS = ("native", "official", "timm", "huggingface", "mmseg")
YES_NO = {"true": True, "false": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        nargs="?",
        help="a checkpoint file, a Hugging Face folder, or a run directory; FILE@ema: the average of its weights. "
        "Or an address: hf-hub:<org>/<name>, timm/<name>, https://…",
    )
    parser.add_argument("output", type=Path, nargs="?", help="what to write: a file, for huggingface a folder")
    parser.add_argument(
        "--to",
        choices=TARGETS,
        default="native",
        help="layout: native (this program, the default), official (MAE), timm, huggingface, mmseg",
    )
    parser.add_argument("--known", action="store_true", help="print the addresses of published weights that are read")
    parser.add_argument("--inspect", action="store_true", help="write nothing; say what the input is and where it fits")
    parser.add_argument("--last", action="store_true", help="of a run the last checkpoint, not the best")
    parser.add_argument(
        "--norm-pix",
        choices=tuple(YES_NO),
        help="whether a MAE was trained on targets normalized per patch, where the file does not say: "
        "mae_pretrain_*_full true, mae_visualize_* false",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="what the file does not tell, e.g. backbone.num_heads=6",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is at OUTPUT")


def run(options: argparse.Namespace) -> int:
    with importing():
        from mae_hydra.weights import ForeignModelError, read_checkpoint

    if options.known:
        show_known()
        return 0
    if options.input is None:
        raise UserError("say what to read: mae-hydra convert INPUT OUTPUT; convert --known lists published weights")
    try:
        checkpoint = read_checkpoint(options.input, prefer="last" if options.last else "best", download=True)
    except ForeignModelError as error:
        if not options.inspect:
            raise
        from mae_hydra.commands.inspect_checkpoint import show_rows

        show_rows(str(options.input), error.facts)
        return 0
    if options.norm_pix is not None:
        checkpoint.meta["norm_pix"] = YES_NO[options.norm_pix]
    if options.inspect:
        from mae_hydra.commands.inspect_checkpoint import show

        show(checkpoint)
        return 0
    if options.output is None:
        raise UserError("say where to write: mae-hydra convert INPUT OUTPUT, or look only: convert --inspect INPUT")
    if options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} is there already; give another name, or add --overwrite")
    _convert(checkpoint, options)
    return 0


def show_known() -> None:
    """A line for each address, which a program can cut at the tabulators."""
    from mae_hydra.weights import KNOWN

    for known in KNOWN:
        digest = f"{known.digest}…" if known.digest else "digest not published"
        print("\t".join((known.address, known.model, known.what, digest)))


def _convert(checkpoint: "Checkpoint", options: argparse.Namespace) -> None:
    from mae_hydra.workflows.convert import convert

    message = convert(checkpoint, options.output, options.to, options.set)
    for line in message:
        print(line)
