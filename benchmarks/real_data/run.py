"""CamVid with and without pre-training, one stage after the other: see docs/real-data.md.

    python benchmarks/real_data/run.py --camvid CamVid --photos photos64 --out outputs/real_data

The same command goes on where it was stopped, passes over what is complete, and with other `--seeds` adds to it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from stages import STEPS, Stage, classifications, pretrainings, segmentations

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def stages(options: argparse.Namespace) -> list[Stage]:
    """All runs in their order: everything with the first seed before any other."""
    camvid, photos, out = (Path(path).resolve() for path in (options.camvid, options.photos, options.out))
    first, *others = options.seeds
    steps = options.steps
    found = pretrainings(camvid, photos) + segmentations(camvid, out, first, steps)
    found += classifications(photos, out, first)
    found += [stage for seed in others for stage in segmentations(camvid, out, seed, steps)]
    found += [stage for seed in others for stage in classifications(photos, out, seed)]
    return [stage for stage in found if options.only is None or any(word in stage.name for word in options.only)]


def carry_out(stage: Stage, out: Path) -> None:
    """Train, where that is not complete, then score the test images, where the stage has such."""
    directory = out.resolve() / stage.name
    if not _complete(directory):
        print(f"== {stage.name}", flush=True)
        _call("train.py", "--config-dir", str(HERE / "conf"), *stage.words, f"hydra.run.dir={directory}")
    if stage.tested and not (directory / "test/results.json").exists():
        print(f"== {stage.name}, test split", flush=True)
        _call("-m", "mae_hydra", "evaluate", str(directory), "split=test", "--out", str(directory / "test"))


def _complete(directory: Path) -> bool:
    file = directory / "status.json"
    return file.exists() and json.loads(file.read_text())["state"] == "completed"


def environment() -> dict[str, str]:
    """In which this program is found, and the peer, and may be built."""
    path = os.pathsep.join(map(str, [ROOT, HERE, *filter(None, [os.environ.get("PYTHONPATH")])]))
    return os.environ | {"PYTHONPATH": path, "MAE_HYDRA_TRUST": "unet_peer"}


def _call(*words: str) -> None:
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment()) as process:

        def hand_on(number: int, _: object) -> None:
            process.send_signal(number)

        signal.signal(signal.SIGTERM, hand_on)  # the training saves its state; Ctrl-C reaches it by the terminal
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = process.wait() or 130
    if code:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", required=True, help="CamVid in SegNet's layout")
    parser.add_argument("--photos", required=True, help="64x64 photos with classes, as tar files")
    parser.add_argument("--out", type=Path, default=Path("outputs/real_data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS, help="of a training on CamVid (default: %(default)s)")
    parser.add_argument("--only", nargs="+", help="stages whose name holds one of these words")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    options = parser.parse_args()
    for stage in stages(options):
        if options.dry_run:
            print("python train.py", *stage.words, f"hydra.run.dir={options.out / stage.name}")
        else:
            carry_out(stage, options.out)


if __name__ == "__main__":
    main()
