"""Run directories as training leaves them, made in milliseconds."""

import functools
import json
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image


def made_run(
    directory: Path,
    overrides: list[str],
    *,
    monitor: str = "val/mIoU",
    mode: str = "max",
    value: float | None = 30.0,
    state: str = "completed",
    error: str | None = None,
    cells: bool = True,
) -> Path:
    """Its curve ends in `value`; its pictures are two cells beside each other."""
    (directory / "figures").mkdir(parents=True)
    began = time.time() - 90
    status: dict[str, Any] = {"state": state, "name": "made", "task": "segment", "fingerprint": "0", "attempt": 1}
    status |= {"overrides": overrides, "value": value, "error": error, "start": began, "end": began + 60}
    (directory / "status.json").write_text(json.dumps(status | {"pid": 0, "host": "here"}))
    config = {"name": "made", "seed": 0, "checkpoint": {"monitor": monitor, "mode": mode}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (directory / "environment.json").write_text(json.dumps({"host": "here", "packages": {"torch": "2"}}))
    (directory / "git.json").write_text(json.dumps({"commit": "abc", "branch": "main", "dirty": True}))
    (directory / "git.diff").write_text("- a < b\n+ a > b\n")
    if value is not None:
        lines = [{"step": 10, "train/loss": 2.0, "train/lr": 0.1, monitor: value - 5}]
        lines += [{"step": 20, "train/loss": 1.0, "train/lr": 0.0, monitor: value}]
        (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    if cells:
        (directory / "figures" / "cells.png").write_bytes(_picture(2 * 224, 2 * 224))
        (directory / "figures" / "segmentation.png").write_bytes(_picture(50, 80))
    return directory


@functools.cache
def _picture(height: int, width: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(packed := BytesIO(), format="png")
    return packed.getvalue()
