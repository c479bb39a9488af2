"""`mae-hydra demo`: the whole story on embedded data, ending in a table and pictures.

Three ordinary training runs in fresh processes, each as a person would type it; a run that is complete is not repeated.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from mae_hydra.errors import UserError
from mae_hydra.owned import Owned

DEFAULT = Path("outputs/demo")
LEFT = {  # in its folder at the end, by task
    "segment": [
        "results.json",
        "results.md",
        *(f"figures/{name}.png" for name in ("reconstructions", "segmentations", "curves", "classes")),
    ],
    "classify": ["classification.json", "classification.md"],
}
SEGMENT = {"pre-trained": "pretrained", "from scratch": "scratch"}  # what it is called -> its directory


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=DEFAULT, help="where to write (default: %(default)s)")
    parser.add_argument("--seeds", default="0", help="repeat everything for each, e.g. 0,1,2 (default: %(default)s)")
    parser.add_argument(
        "--task",
        choices=("segment", "classify"),
        default="segment",
        help="what the pre-trained encoder is then used for (default: %(default)s)",
    )
    parser.add_argument("overrides", nargs="*", help="added to all runs, e.g. +debug=smoke")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.commands.demo.report import write_report

    began = time.time()
    rows = []
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds takes whole numbers with commas between them, got {options.seeds!r}") from error
    owned = Owned(options.out, "demo", trusted=options.out == DEFAULT)
    for name in LEFT[options.task]:  # before minutes of training
        owned.check(options.out / name)
    for name in LEFT[options.task]:
        owned.claim(options.out / name)
    folders = [options.out if len(seeds) == 1 else options.out / f"seed{seed}" for seed in seeds]
    if options.task == "classify":
        return _classify(options.out, dict(zip(seeds, folders, strict=True)), options.overrides)
    for seed, out in zip(seeds, folders, strict=True):
        common = [f"seed={seed}", *options.overrides]
        print(f"\n[1/3] Pre-training a masked autoencoder without labels -> {out / 'pretrain'}", flush=True)
        _train(out / "pretrain", ["+experiment=demo_pretrain", *common])
        print(f"\n[2/3] UPerNet from the pre-trained encoder, few labels -> {out / 'pretrained'}", flush=True)
        _train(out / "pretrained", ["+experiment=demo_transfer", *common, f"init_from={out / 'pretrain'}"])
        print(f"\n[3/3] UPerNet from scratch, the same labels and budget -> {out / 'scratch'}", flush=True)
        _train(out / "scratch", ["+experiment=demo_scratch", *common])
        rows += [{"seed": seed, "start": name, **_results(out / folder)} for name, folder in SEGMENT.items()]
    write_report(options.out, folders[0], rows, seconds=time.time() - began)
    return 0


def _classify(out: Path, folders: dict[int, Path], overrides: list[str]) -> int:
    from mae_hydra.commands.demo.classify import run_ways, write_table

    results = []
    for seed, folder in folders.items():
        common = [f"seed={seed}", *overrides]
        print(f"\nPre-training a masked autoencoder without labels -> {folder / 'pretrain'}", flush=True)
        _train(folder / "pretrain", ["+experiment=demo_pretrain", *common])
        results.append(run_ways(folder, common, _train))
    write_table(out, results)
    return 0


def _train(run_dir: Path, overrides: list[str]) -> None:
    command = [sys.executable, "-m", "mae_hydra", "train", *overrides, f"hydra.run.dir={run_dir}"]
    print("      python train.py " + " ".join(command[4:]), flush=True)
    from mae_hydra.launching.stages import run_apart

    code, _ = run_apart(command)
    if code in (75, 130):
        raise KeyboardInterrupt  # it said how to go on; the same command does
    if code != 0:
        raise UserError(
            f"this part of the demo failed with exit code {code}; if {run_dir} is of an older demo, "
            "remove it or give --out"
        )


def _results(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "results.json").read_text())
