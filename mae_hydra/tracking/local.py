"""The files that every run leaves behind: metrics.jsonl, figures/, tables/."""

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import Any

from PIL import Image

from mae_hydra.types import Evaluation


class LocalFiles:
    """`metrics.jsonl` has one line per step, and each step once: {"step": 50, "train/loss": 0.71, "val/mIoU": 31.2}.

    What is not a finite number is null. `figures/<picture>.png` and `tables/<table>.json` hold the latest ones.
    """

    def start(self, run_dir: str | Path, config: Mapping[str, Any], step: int) -> None:
        """Begin or go on; lines of steps after `step` are dropped, because they are about to be run again."""
        self.run_dir = Path(run_dir)
        self._metrics = self.run_dir / "metrics.jsonl"
        lines = [line for line in _read_lines(self._metrics) if line["step"] <= step]
        _write_whole(self._metrics, b"".join(_encode(line) for line in lines))
        self._line: dict[str, Any] = lines[-1] if lines else {}  # the last one of the file

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A new line, or more values in the last one where it is of the same step; on the disk when this returns."""
        with open(self._metrics, "r+b") as file:
            end = file.seek(0, os.SEEK_END)
            if self._line.get("step") == step:
                file.seek(end - len(_encode(self._line)))
            else:
                self._line = {"step": step}
            self._line |= values
            file.write(_encode(self._line))
            file.truncate()

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        self.scalars(step, {f"val/{scalar}": value for scalar, value in evaluation.scalars.items()})
        for picture_name, picture in evaluation.pictures.items():
            if picture.maps:  # the plain image under overlays that other trackers draw; a sheet shows them all
                continue
            buffer = BytesIO()
            # Level 3 of 9: in less than half the time of the usual 6, a sixth larger; training waits for it.
            Image.fromarray(picture.pixels).save(buffer, format="png", compress_level=3)
            _write_whole(self.run_dir / "figures" / f"{_file_name(picture_name)}.png", buffer.getvalue())
        for table_name, rows in evaluation.tables.items():
            content = b"[" + b",".join(_encode(row) for row in rows) + b"]\n"  # a row per line
            _write_whole(self.run_dir / "tables" / f"{_file_name(table_name)}.json", content)

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        """`results.json` of a run that is complete, before other trackers end, which may take it along."""
        if state == "completed":
            finite = json.loads(_encode(summary))
            _write_whole(self.run_dir / "results.json", json.dumps(finite, indent=2).encode() + b"\n")


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines: the end of the file is torn where the process was killed while it wrote."""
    lines: list[dict[str, Any]] = []
    with suppress(FileNotFoundError, json.JSONDecodeError), open(path) as file:
        for line in file:
            lines.append(json.loads(line))  # noqa: PERF401 - those before the torn one are kept
    return lines


def _encode(values: Mapping[str, Any]) -> bytes:
    finite = {n: None if isinstance(v, Real) and not math.isfinite(v) else v for n, v in values.items()}
    return json.dumps(finite, allow_nan=False, default=lambda numpy_value: numpy_value.item()).encode() + b"\n"


def _file_name(name: str) -> str:
    return name.replace("/", "_")


def _write_whole(path: Path, content: bytes) -> None:
    """Replace the file at once: who reads it while training runs sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)
