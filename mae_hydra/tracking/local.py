"""The files that every run leaves behind: metrics.jsonl, figures/, tables/, and at its end results.json."""

import json
import logging
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import Any

from PIL import Image

from mae_hydra import atomic
from mae_hydra.lines import GrowingFile, of_a_step, read_lines
from mae_hydra.types import Evaluation, Picture

log = logging.getLogger("mae_hydra")


class LocalFiles:
    """`metrics.jsonl` has one line per step, and each step once: {"step": 50, "train/loss": 0.71, "val/mIoU": 31.2}.

    What is not a finite number is null. `figures/<picture>.png` and `tables/<table>.json` hold the latest ones.
    `results.json` holds the last value of every scalar of a run that is complete.

    This is the record of the run, so nothing of it is given up: what a full or lost disk does not take is kept and
    tried again whenever there is something new. `missing`, once finished: what the disk has not taken to the end, in a
    sentence; empty where it has taken all.
    """

    def __init__(self) -> None:
        self.run_dir = Path()
        self._line: dict[str, Any] = {}  # the last one of metrics.jsonl
        self._metrics = GrowingFile(Path())
        self._files: dict[str, bytes] = {}  # what the disk has not taken, by its name in the run directory
        self._reasons: dict[str, str] = {}  # why something is not there, by the same name
        self.missing = ""

    def start(self, run_dir: str | Path, config: Mapping[str, Any], step: int) -> None:
        """Begin or go on; lines of steps after `step` are dropped, because they are about to be run again."""
        self.run_dir = Path(run_dir)
        path = self.run_dir / "metrics.jsonl"
        rows, damaged = read_lines(path, of_a_step)
        if damaged:
            _say(f"note: {damaged} damaged line{'s' if damaged > 1 else ''} of {path} cannot be read and left out")
        kept = [row for row in rows if row["step"] <= step]
        lines = [_encode(row) for row in kept]
        self._line = kept[-1] if kept else {}
        try:
            _write_whole(path, b"".join(lines))
        except OSError:  # no room for a second one: the lines go over the old ones
            self._metrics = GrowingFile(path, lines)
            self._metrics.write()
        else:
            self._metrics = GrowingFile(path, lines[-1:], sum(map(len, lines[:-1])))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A new line, or more values in the last one where it is of the same step; on the disk when this returns.

        `perf/time` says when, in seconds since 1970: how long a killed run took follows from its last line.
        """
        values = {**values, "perf/time": round(time.time(), 1)}
        if self._line.get("step") == step:
            self._line |= values
            self._metrics.change_last(_encode(self._line))
        else:
            self._line = {"step": step, **values}
            self._metrics.add(_encode(self._line))
        self._write()

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        for picture_name, picture in evaluation.pictures.items():
            if picture.maps:  # the plain image under overlays that other trackers draw; a sheet shows them all
                continue
            file = f"figures/{_file_name(picture_name)}.png"
            try:
                self._files[file] = _png(picture)
            except Exception as error:  # whatever is wrong with it: the scores below must not be lost for a picture
                self._note(file, error)
        for table_name, rows in evaluation.tables.items():
            content = b"[" + b",".join(_encode(row) for row in rows) + b"]\n"  # a row per line
            self._files[f"tables/{_file_name(table_name)}.json"] = content
        self.scalars(step, {f"val/{scalar}": value for scalar, value in evaluation.scalars.items()})

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        """One more try at all that is not on the disk; what is then missing is put elsewhere, and said."""
        if state == "completed":
            self._files["results.json"] = (
                json.dumps(_finite(summary), indent=2, allow_nan=False, default=_plain).encode() + b"\n"
            )
        self._metrics.write()
        self._write()
        if self._reasons:
            names = ", ".join(self._reasons)
            sentence = f"{self.run_dir} lacks {names} ({next(iter(self._reasons.values()))})"
            if self._metrics.unwritten or self._files:
                self.missing = sentence = f"{sentence}; {self._put_elsewhere()}"
            _say(f"warning: {sentence}", sys.stderr)

    def _put_elsewhere(self) -> str:
        """Write what is missing to a folder for temporary files; where it is then, in words."""
        try:
            files = self._files | ({"metrics.jsonl": self._metrics.whole()} if self._metrics.unwritten else {})
            folder = Path(tempfile.mkdtemp(prefix=f"mae_hydra-{self.run_dir.name}-"))
            for name, content in files.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(content)
        except OSError as error:
            return f"it could be written nowhere else either ({error.strerror}) and is lost"
        return f"it is kept in {folder}: copy the files from there once there is room"

    def _write(self) -> None:
        """Everything that the disk has not taken yet."""
        if self._metrics.error is None:
            self._forget("metrics.jsonl")
        else:
            self._note("metrics.jsonl", self._metrics.error)
        for name, content in list(self._files.items()):
            path = self.run_dir / name
            try:
                _write_whole(path, content)
            except OSError as error:
                self._note(name, error)
            else:
                del self._files[name]
                self._forget(name)

    def _note(self, name: str, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        if name not in self._reasons:
            kept = "; it is kept, and written as soon as that is possible" if isinstance(error, OSError) else ""
            _say(f"warning: {self.run_dir / name} cannot be written ({reason}){kept}", sys.stderr)
        self._reasons[name] = reason

    def _forget(self, name: str) -> None:
        if self._reasons.pop(name, None) is not None:
            _say(f"note: {self.run_dir / name} could be written now, and nothing of it is missing")


def _say(line: str, stream: Any = None) -> None:
    print(line, file=stream)
    log.warning(line)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with atomic.writing(path) as temporary:
        temporary.write_bytes(content)


def _png(picture: Picture) -> bytes:
    buffer = BytesIO()
    # Level 3 of 9: in less than half the time of the usual 6, a sixth larger; training waits for it.
    Image.fromarray(picture.pixels).save(buffer, format="png", compress_level=3)
    return buffer.getvalue()


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: None if isinstance(v, Real) and not math.isfinite(v) else v for n, v in values.items()}


def _encode(values: Mapping[str, Any]) -> bytes:
    return json.dumps(_finite(values), allow_nan=False, default=_plain).encode() + b"\n"


def _plain(numpy_value: Any) -> Any:
    return numpy_value.item()


def _file_name(name: str) -> str:
    return name.replace("/", "_")
