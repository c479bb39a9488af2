"""`mae-hydra export`: a trained model as one file that runs without this program."""

import argparse
from pathlib import Path

from mae_hydra.atomic import check_writable
from mae_hydra.errors import UserError
from mae_hydra.launching.importing import importing


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", help="a run directory, or a checkpoint in any known layout, or an address (convert --known)"
    )
    parser.add_argument("out", type=Path, help="what to write, e.g. model.onnx or model.pt2")
    parser.add_argument("--format", choices=("onnx", "torch"), help="default: by the ending of OUT")
    parser.add_argument(
        "--output",
        choices=("logits", "labels", "tokens", "maps"),
        help="segmentation: logits (default), labels or maps; classifier: logits (default), labels, tokens or maps; "
        "encoder or masked autoencoder: tokens (default) or maps",
    )
    parser.add_argument(
        "--input",
        choices=("uint8", "float"),
        default="uint8",
        help="uint8: pixels 0..255, normalized inside (default); float: normalized already",
    )
    parser.add_argument("--batch", default="dynamic", help="how many images at a time (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="run the file in its runtime and compare with the model")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="what the checkpoint does not tell, e.g. backbone.num_heads=6",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is at OUT")


def run(options: argparse.Namespace) -> int:
    if options.batch != "dynamic" and not (options.batch.isdecimal() and int(options.batch) > 0):
        raise UserError(f"--batch must be dynamic or a positive number, got {options.batch}")
    if options.out.exists() and not options.overwrite:
        raise UserError(f"{options.out} is there already; give another name, or add --overwrite")
    if not options.out.parent.is_dir():
        raise UserError(f"there is no folder {options.out.parent} to write to; make it first")
    check_writable(options.out.parent, "give another place")
    with importing():
        from mae_hydra.workflows.export import FORMATS, Options, compare, export, need

    form = options.format or FORMATS.get(options.out.suffix)
    if form is None:
        raise UserError(f"{options.out} ends neither in .onnx nor in .pt2; rename it, or add --format onnx or torch")
    if form == "onnx":  # before a large model is read
        need("onnx", "onnxscript", *(["onnxruntime"] if options.check else []))
    batch = None if options.batch == "dynamic" else int(options.batch)
    chosen = Options(form=form, output=options.output, input=options.input, batch=batch)
    function = export(options.checkpoint, options.out, chosen, tuple(options.set))
    print(f"wrote {options.out} ({options.out.stat().st_size / 2**20:.1f} MB)")
    if options.check:
        for name, difference in compare(options.out, function, chosen).items():
            print(f"  {name}: differs from the model by at most {difference:.1e} of its largest value")
    return 0
