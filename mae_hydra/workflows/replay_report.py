"""What was found in a step that was taken again: files of the run, and a short table on the console."""

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from PIL import Image
from rich.table import Table

from mae_hydra import atomic
from mae_hydra.data import ImageData
from mae_hydra.evaluation.pictures import CELL, OPACITY, as_rgb
from mae_hydra.experiment.status import write_json
from mae_hydra.experiment.steps_taken import recorded_loss
from mae_hydra.figures import fit, legend_of, overlay, sheet
from mae_hydra.figures.gallery import gallery
from mae_hydra.names import clean
from mae_hydra.recorded.tables import table_or_none
from mae_hydra.terminal import plain_console
from mae_hydra.workflows.replayed import Found, Shown

HIDDEN_GREY = 127
A_ROW = 4  # pictures


def write_and_show(
    outcome: Found,
    data: ImageData,
    run_dir: Path,
    step: int,
    config: DictConfig,
    *,
    checkpoint: str | None,
    start: Mapping[str, Any],
) -> None:
    """`<run>/replay/step-N/`: step.json, samples.json and batch.png; and the console."""
    folder = run_dir / "replay" / f"step-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    recorded, loss = recorded_loss(run_dir, step), outcome.means["loss"]
    matches = None if recorded is None else recorded == loss or (math.isnan(recorded) and not math.isfinite(loss))
    keys = ("process", "index", "name", "loss", "counted")
    samples = [{key: getattr(image, key) for key in keys} for image in outcome.images]
    write_json(folder / "samples.json", samples)
    record = {
        "step": step,
        **outcome.means,
        "count": outcome.count,
        "learning_rate": outcome.rate,
        "gradient_norm": outcome.grad_norm,
        "finite": math.isfinite(outcome.grad_norm),
        "loss_in_metrics": recorded,
        "same_bits": matches,
        "from": "initial weights" if checkpoint is None else Path(checkpoint).name,
        "processes": start.get("processes", 1),
        "images": outcome.num_images,
        "gradient_norm_by_depth": {depth: norm for depth, (norm, _, _) in by_depth(outcome).items()},
        "gradient_norm_by_parameter": outcome.norms,
    }
    write_json(folder / "step.json", {key: _written(value) for key, value in record.items()})
    if outcome.images:
        with atomic.writing(folder / "batch.png") as temporary:
            Image.fromarray(batch_sheet(outcome, data, step)).save(temporary, format="png")
    _show(outcome, step, recorded, matches, folder)
    if not matches:
        _explain(recorded, run_dir, start, config)


def by_depth(outcome: Found) -> dict[int, tuple[float, int, int]]:
    """The gradient norm of every depth of the model, how many tensors it has, and how many of them are not finite."""
    groups: dict[int, list[float]] = defaultdict(list)
    for name, norm in outcome.norms.items():
        groups[outcome.depths[name]].append(norm)
    return {
        depth: (math.sqrt(sum(n * n for n in norms)), len(norms), sum(not math.isfinite(n) for n in norms))
        for depth, norms in sorted(groups.items())
    }


def batch_sheet(outcome: Found, data: ImageData, step: int) -> np.ndarray:
    """The images of the step, each with what was hidden of it, its class map, or its class: RGB uint8 (H, W, 3)."""
    title = f"Step {step}: loss {_short(outcome.means['loss'])}"
    cells = [_views(image, data) for image in outcome.images]
    views = len(cells[0])
    if views == 1:
        captions = [_caption(image, data) for image in outcome.images]
        return gallery([view for [view] in cells], captions, columns=min(len(cells), 2 * A_ROW), title=title)
    a_row = A_ROW // 2
    rows = [list(chain(*cells[begin : begin + a_row])) for begin in range(0, len(cells), a_row)]
    maps = [image.labels for image in outcome.images if isinstance(image.labels, np.ndarray)]
    columns = ["image", "seen by the encoder" if outcome.images[0].visible is not None else "classes"]
    left_out = outcome.num_images - len(outcome.images)
    note = f"{left_out} more images are not shown. " if left_out else ""
    return sheet(
        rows,
        columns=columns * min(a_row, len(cells)),
        title=title,
        footnote=note + "From left to right, row by row, as in samples.json.",
        legend=legend_of(maps, data.class_names, data.palette) if maps else (),
        cell=CELL,
        group=views,
    )


def _views(image: Shown, data: ImageData) -> list[np.ndarray]:
    pixels = as_rgb(image.pixels, data.shown)
    if image.visible is not None:
        return [pixels, np.where(image.visible[..., None], pixels, np.uint8(HIDDEN_GREY))]
    if isinstance(image.labels, np.ndarray):
        large = fit(pixels, CELL)
        return [
            large,
            overlay(large, fit(image.labels, CELL, "nearest"), data.palette, opacity=OPACITY, boundaries=True),
        ]
    return [pixels]


def _caption(image: Shown, data: ImageData) -> str:
    return data.class_names[image.labels] if isinstance(image.labels, int) else clean(image.name)


def _show(outcome: Found, step: int, recorded: float | None, matches: bool | None, folder: Path) -> None:
    console = plain_console()
    says = {True: "the same bits as in metrics.jsonl", False: f"metrics.jsonl has {recorded!r}", None: ""}[matches]
    finite = "" if math.isfinite(outcome.grad_norm) else ", not finite: the step changed nothing"
    line = f"step {step}: loss {outcome.means['loss']!r}" + (f" ({says})" if says else "")
    console.print(f"{line}, gradient norm {_short(outcome.grad_norm)}{finite}", soft_wrap=True)
    table = Table()
    for column in ("depth", "tensors", "gradient norm"):
        table.add_column(column, justify="right")
    for depth, (norm, tensors, wrong) in by_depth(outcome).items():
        table.add_row(str(depth), str(tensors), _short(norm) + (f", {wrong} not finite" if wrong else ""))
    console.print(table)
    images = [image for image in outcome.images if image.loss is not None]
    images.sort(key=lambda image: -image.loss if math.isfinite(image.loss) else -math.inf)  # type: ignore[operator,arg-type]
    for image in images[:3]:
        line = f"loss {_short(image.loss)}  image {image.index}  {clean(image.name)}"  # type: ignore[arg-type]
        console.print(line, soft_wrap=True)
    console.print(f"{clean(folder)}: batch.png, samples.json, step.json", soft_wrap=True)


def _explain(recorded: float | None, run_dir: Path, start: Mapping[str, Any], config: DictConfig) -> None:
    """Why there is nothing to compare with, or what may have made the difference."""
    if recorded is None:
        print(f"metrics.jsonl has no loss of this step alone (engine.log_every={config.engine.log_every})")
        return
    import torch

    then = (table_or_none(run_dir / "environment.json") or {}).get("packages", {}).get("torch")
    torch_now = torch.__version__.partition("+")[0]  # what pip knows has no "+cu130" behind it
    reasons = []
    if str(then).partition("+")[0] != torch_now:
        reasons.append(f"torch {then} then, {torch_now} now")
    device = "cuda" if config.engine.device != "cpu" and torch.cuda.is_available() else "cpu"
    if start.get("device", device) != device:
        reasons.append(f"computed on {start['device']} then, on {device} now")
    why = "; ".join(reasons) or "another machine, other code, or kernels that add up in another order"
    print(f"warning: this is not the recorded step to the last bit ({why})")


def _written(value: Any) -> Any:
    """JSON has no infinity: as text it still tells which it was."""
    if isinstance(value, Mapping):
        return {str(name): _written(child) for name, child in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: float) -> str:
    return f"{value:.4g}"
