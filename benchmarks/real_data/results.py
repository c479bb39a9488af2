"""The tables and figures of docs/real-data.md, from the runs that are complete.

python benchmarks/real_data/results.py outputs/real_data docs/images
"""

import json
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from PIL import Image
from run import environment
from stages import ARMS, CLASSIFIERS, OWN, PHOTOS, UNTRAINED

from mae_hydra.experiment.read_runs import Run, read_run
from mae_hydra.figures import legend_of, overlay, save, sheet

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}  # 95 %, two-sided, by the number of values
FRAMES = ("0001TP_008550", "Seq05VD_f00330", "Seq05VD_f02760", "Seq05VD_f04620")  # of the test split
Runs = Mapping[str, Sequence[Run]]


def complete(folder: Path, arms: Iterable[str]) -> dict[str, list[Run]]:
    """The complete runs of every arm that has some, by seed; of CamVid those whose test images are scored."""
    found = {}
    for arm in arms:
        runs = [read_run(path.parent, stages=False) for path in sorted(folder.glob(f"{arm}-*/status.json"))]
        kept = [run for run in runs if run is not None and run.state == "completed"]
        if arms is ARMS:
            kept = [run for run in kept if (run.directory / "test/results.json").exists()]
        if kept:
            found[arm] = kept
    return found


def interval(values: Sequence[float]) -> str:
    """Mean and, of two values and more, the half-width of its 95 % interval by Student's distribution."""
    if len(values) < 2:
        return f"{fmean(values):.1f}"
    return f"{fmean(values):.1f} ± {STUDENT.get(len(values), 2.31) * stdev(values) / math.sqrt(len(values)):.1f}"


def tested(run: Run) -> dict[str, float]:
    """The scores on the test split."""
    return json.loads((run.directory / "test/results.json").read_text())


def seed_of(run: Run) -> int:
    return int(run.config["seed"])


def segmentation_table(runs: Runs) -> list[str]:
    """mIoU on the test split by arm, and what it is above that from scratch, seed by seed."""
    scores = {arm: {seed_of(run): tested(run)["mIoU"] for run in found} for arm, found in runs.items()}
    lines = [
        "| | mIoU of each seed, % | mean | above scratch | pixel accuracy | minutes |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for arm, found in runs.items():
        values = list(scores[arm].values())
        common = scores[arm].keys() & scores.get("scratch", {}).keys()
        above = interval([scores[arm][seed] - scores["scratch"][seed] for seed in sorted(common)]) if common else ""
        accuracy = interval([tested(run)["aAcc"] for run in found])
        minutes = fmean((run.seconds or 0) / 60 for run in found)
        each = ", ".join(f"{value:.1f}" for value in values)
        above = "" if arm == "scratch" else above
        lines.append(f"| {ARMS[arm]} | {each} | {interval(values)} | {above} | {accuracy} | {minutes:.1f} |")
    return lines


def class_means(runs: Runs) -> dict[str, dict[str, float | None]]:
    """IoU of each class on the test split, the mean over seeds, by the arm's name."""
    means: dict[str, dict[str, float | None]] = {}
    for arm, found in runs.items():
        tables = [json.loads((run.directory / "test/per_class.json").read_text()) for run in found]
        rows = zip(*tables, strict=True)  # a class: what each run says of it
        means[ARMS[arm]] = {each[0]["name"]: _mean([row["IoU"] for row in each]) for each in rows}
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def class_table(means: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """The same as a table, a column an arm."""
    rows = [["IoU, %", *means], ["---", *["---:"] * len(means)]]
    for name in next(iter(means.values())):
        values = [each[name] for each in means.values()]
        rows.append([name, *("–" if value is None else f"{value:.1f}" for value in values)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def over_time(run: Run, untrained: Run | None, keys: Mapping[str, str]) -> list[str]:
    """Scores of one run by step, at step 0 those of the weights it began with; `keys`: what scalars are called."""
    rows = [row for row in run.rows() if all(row.get(key) is not None for key in keys)]
    rows = [*([] if untrained is None else [untrained.rows()[-1] | {"step": 0}]), *rows]
    lines = ["| step | " + " | ".join(keys.values()) + " |", "|---:|" + "---:|" * len(keys)]
    return lines + [f"| {row['step']} | " + " | ".join(f"{row[key]:.3g}" for key in keys) + " |" for row in rows]


def classification_table(runs: Runs) -> list[str]:
    """Top-1 and top-5 at the end of fine-tuning, by arm."""
    lines = ["| | top-1 of each seed, % | mean | top-5 | minutes |", "|---|---|---:|---:|---:|"]
    for arm, found in runs.items():
        ends = [run.metrics for run in found]
        values = [end["val/top1"] for end in ends]
        each, minutes = ", ".join(f"{value:.1f}" for value in values), fmean((run.seconds or 0) / 60 for run in found)
        top5 = interval([end["val/top5"] for end in ends])
        lines.append(f"| {CLASSIFIERS[arm]} | {each} | {interval(values)} | {top5} | {minutes:.1f} |")
    return lines


def pictures(runs: Runs, out: Path) -> np.ndarray:
    """Frames of the test split, their labels, and what each arm's first seed makes of them."""
    data = next(iter(runs.values()))[0].config["data"]
    camvid, palette = Path(data["root"]), np.array([_rgb(color) for color in data["palette"].split()], np.uint8)
    frames = [next((camvid / "test").glob(f"{frame}.*")) for frame in FRAMES]
    maps = [[np.asarray(Image.open(camvid / f"testannot/{frame}.png")) for frame in FRAMES]]
    for first, *_ in runs.values():
        folder = out / "pictures" / first.name
        words = ["predict", str(first.directory), *map(str, frames), "--out", str(folder), "--overwrite"]
        command = [sys.executable, "-m", "mae_hydra", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
        maps.append([np.asarray(Image.open(folder / f"labels/{frame}.png")) for frame in FRAMES])
    photos = [np.asarray(Image.open(frame).convert("RGB")) for frame in frames]
    rows = [
        [photo, *(overlay(photo, column[n], palette, opacity=0.65, boundaries=True) for column in maps)]
        for n, photo in enumerate(photos)
    ]
    legend = legend_of([each for column in maps for each in column], data["classes"], palette)
    return sheet(rows, columns=["frame", "labels", *(ARMS[arm] for arm in runs)], legend=legend, cell=200)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[:2], 16), int(color[2:4], 16), int(color[4:], 16)


def main(out: Path, images: Path) -> None:
    """Print the tables, and write the figures."""
    budgets = {int(folder.name): complete(folder, ARMS) for folder in (out / "camvid").glob("*[0-9]")}
    for steps, found in sorted(budgets.items()):
        if not found:
            continue
        tables = *segmentation_table(found), "", *class_table(class_means(found)), ""
        print(f"CamVid, {steps} steps", *tables, sep="\n")
        save(pictures(found, out), images / f"real_data_{steps}.png")
    scores = {
        "val/loss": "loss",
        "val/knn": "nearest neighbors, top-1",
        "val/linear": "linear, top-1",
        "val/rankme": "rank",
    }
    maps = {"val/loss": "loss", "val/knn_mIoU": "nearest neighbors, mIoU", "val/linear_mIoU": "linear, mIoU"}
    for name, keys in ((PHOTOS, scores), (OWN, maps)):
        run = read_run(out / name, stages=False)
        if run is not None:
            lines = over_time(run, read_run(out / f"{name}{UNTRAINED}", stages=False), keys)
            print(f"{name}: {run.state}, {(run.seconds or 0) / 60:.1f} minutes", *lines, "", sep="\n")
    classified = complete(out / "classes", CLASSIFIERS)
    if classified:
        print(*classification_table(classified), sep="\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
