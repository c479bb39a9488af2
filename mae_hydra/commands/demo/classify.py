"""`mae-hydra demo --task classify`: what a pre-trained encoder is worth for classification, in one table.

Nearest neighbours, linear probe, partial and full fine-tuning with the same few labels and the same budget, from the
demo's pre-training and from a random start.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from mae_hydra.experiment.status import write_json
from mae_hydra.terminal import plain_console
from mae_hydra.workflows.evaluate import evaluate

WAYS = {"linear probe": "demo_probe", "last block": "demo_partial", "fine-tuning": "demo_finetune"}
STARTS = ("pre-trained", "from scratch")
SCRATCH = {"demo_finetune": ["optimizer.lr=2e-3"]}  # its own best of those tried, with and without layer decay
FEATURES = {"nearest neighbors": "knn", "linear, L-BFGS": "linear"}


def run_ways(out: Path, common: Sequence[str], train: Callable[[Path, list[str]], None]) -> dict[str, dict[str, float]]:
    """Train every way from both starts below `out`; top-1 in percent by way and start."""
    scores_of: dict[str, dict[str, float]] = {way: {} for way in (*FEATURES, *WAYS)}
    for start in STARTS:
        for way, experiment in WAYS.items():
            folder = out / start.replace(" ", "_").replace("-", "") / experiment.removeprefix("demo_")
            print(f"\n{way}, {start} -> {folder}", flush=True)
            given = [f"init_from={out / 'pretrain'}"] if start == "pre-trained" else SCRATCH.get(experiment, [])
            train(folder, [f"+experiment={experiment}", *common, *given])
            scores_of[way][start] = _value(folder, "val/top1")
            if experiment == "demo_probe":  # its encoder is the one that it was started from
                scores = evaluate(folder, ["evaluation=features"], None, "last")
                for name, key in FEATURES.items():
                    scores_of[name][start] = scores[key]
    return scores_of


def write_table(out: Path, results: Sequence[Mapping[str, Mapping[str, float]]]) -> None:
    """`classification.json` and `.md` in `out`, and the table on the screen; one of `results` per seed."""
    rows = [[way, *(_cell([result[way][start] for result in results]) for start in STARTS)] for way in results[0]]
    head = ["ViT-Tiny, top-1 %", *STARTS]
    lines = [head, ["---", "---:", "---:"], *rows]
    (out / "classification.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    write_json(out / "classification.json", list(results))
    table = Table(title="512 labels, the same budget", title_justify="left")
    table.add_column(head[0])
    for name in STARTS:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    console = plain_console()
    console.print()
    console.print(table)


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def _value(run_dir: Path, name: str) -> float:
    results: dict[str, Any] = json.loads((run_dir / "results.json").read_text())
    return float(results[name])
