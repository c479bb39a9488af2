"""The table and the pictures at the end of the demo."""

import json
import shlex
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from mae_hydra.configuration.construct import build
from mae_hydra.data import ImageData
from mae_hydra.experiment.status import write_json
from mae_hydra.figures import Panel, class_bars, curves, fit, legend_of, overlay, save, series_of, sheet
from mae_hydra.lines import of_a_step, read_lines
from mae_hydra.recorded.configuration import recorded
from mae_hydra.terminal import plain_console
from mae_hydra.weights import read_checkpoint
from mae_hydra.workflows import entry

METRICS = ("mIoU", "mAcc", "aAcc")
NUM_PICTURES = 6
CELL = 192  # pixels of a picture's longer side


def write_report(out: Path, shown: Path, rows: Sequence[dict[str, Any]], seconds: float) -> None:
    """Write `results.json`, `results.md` and `figures/` to `out`, and print the table.

    `shown` is the directory of the seed that is pictured.
    """
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shown / "pretrain" / "figures" / "reconstructions.png", figures / "reconstructions.png")
    save(_segmentations(shown), figures / "segmentations.png")
    save(_curves(shown), figures / "curves.png")
    save(_classes(shown), figures / "classes.png")
    table = [
        _row(name, [row for row in rows if row["start"] == name]) for name in dict.fromkeys(r["start"] for r in rows)
    ]
    write_json(out / "results.json", {"seconds": seconds, "runs": list(rows)})
    (out / "results.md").write_text(_markdown(table))
    _show(table, out, seconds)


def _row(name: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    cells = [name, str(len(runs))]
    for metric in METRICS:
        values = [run[f"val/{metric}"] for run in runs]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.1f}{spread}")
    return cells


def _markdown(table: Sequence[Sequence[str]]) -> str:
    head = ["UPerNet, ViT-Tiny", "seeds", *(f"{metric} %" for metric in METRICS)]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *table]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _show(rows: Sequence[Sequence[str]], out: Path, seconds: float) -> None:
    console = plain_console()
    table = Table(title="Few labels, the same budget: what pre-training is worth", title_justify="left")
    table.add_column("UPerNet, ViT-Tiny")
    for name in ("seeds", *(f"{metric} %" for metric in METRICS)):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)
    console.print(f"{seconds / 60:.1f} minutes. Pictures to look at: {out / 'figures'}/*.png", soft_wrap=True)
    console.print(f"All of it on one page: mae-hydra report {shlex.quote(str(out))}", soft_wrap=True)


def _segmentations(out: Path) -> Any:
    """Draw the same validation pictures: image, truth, and what both models say."""
    checkpoint = out / "pretrained"
    config = recorded(read_checkpoint(checkpoint)).config
    data: ImageData = build(config.data, "data")
    inference = build(config.inference, "inference")
    samples = [data.validation[index] for index in range(min(NUM_PICTURES, len(data.validation)))]
    images = [sample.image for sample in samples]
    with torch.no_grad():
        maps = [inference.predict(entry.load(out / folder), images) for folder in ("scratch", "pretrained")]
    rows, shown = [], []
    for sample, scratch, pretrained in zip(samples, *maps, strict=True):
        assert isinstance(sample.label, torch.Tensor)
        labels = [sample.label.numpy(), scratch.cpu().numpy(), pretrained.cpu().numpy()]
        shown += labels
        # Enlarged first, so that the boundaries are drawn crisply.
        image = fit(sample.image.permute(1, 2, 0).numpy(), CELL)
        enlarged = [fit(maps, CELL, "nearest") for maps in labels]
        rows.append([image, *(overlay(image, maps, data.palette, opacity=0.6, boundaries=True) for maps in enlarged)])
    return sheet(
        rows,
        columns=["image", "ground truth", "from scratch", "pre-trained"],
        title="Unseen scenes, the same few labels",
        legend=legend_of(shown, data.class_names, data.palette),
        cell=CELL,
    )


def _curves(out: Path) -> Any:
    logs = {name: _metrics(out / name) for name in ("pretrain", "pretrained", "scratch")}
    both = {"pre-trained": logs["pretrained"], "from scratch": logs["scratch"]}
    panels = [
        Panel("MAE loss (masked patches)", [series_of(logs["pretrain"], "train/loss", "MAE")], smooth=True),
        Panel("Segmentation loss", [series_of(rows, "train/loss", name) for name, rows in both.items()], smooth=True),
        Panel("mIoU on unseen scenes, %", [series_of(rows, "val/mIoU", name) for name, rows in both.items()]),
    ]
    return curves(panels, columns=3)


def _classes(out: Path) -> Any:
    """IoU of every class, from scratch and pre-trained."""
    runs = {}
    for name, folder in (("from scratch", "scratch"), ("pre-trained", "pretrained")):
        rows = json.loads((out / folder / "tables" / "per_class.json").read_text())
        runs[name] = {row["name"]: row["IoU"] for row in rows}
    return class_bars(runs, title="IoU of every class on unseen scenes")


def _metrics(run_dir: Path) -> list[dict[str, Any]]:
    return read_lines(run_dir / "metrics.jsonl", of_a_step).rows
