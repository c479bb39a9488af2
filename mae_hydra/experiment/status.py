"""`status.json`: what state a run is in, and the fingerprint of what it computes.

States: running, completed, pruned, failed, interrupted. A killed process leaves `running` behind, so it is believed
only where somebody holds the directory (see `holder`).
"""

import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mae_hydra import atomic
from mae_hydra.configuration.key_meaning import Decides, deciding
from mae_hydra.experiment.holder import is_held
from mae_hydra.lines import of_a_step, read_lines
from mae_hydra.recorded.tables import table_or_none

DONE = ("completed", "pruned")  # states of a run that the same command does not take up again


class Ending(NamedTuple):
    """How a training ended. `why`: what ended it before its last step; `pruned`: given up, and not done."""

    value: float
    why: str = ""
    pruned: bool = False


def write_json(path: Path, content: Any) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of it. NaN and infinity are null."""
    with atomic.writing(path) as temporary, open(temporary, "w") as file:
        json.dump(_finite(content), file, indent=2, default=str, allow_nan=False)
        file.write("\n")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_status(run_dir: Path) -> dict[str, Any] | None:
    """The status of a run, or None where there is none, or none that can be read.

    A `running` whose process is gone reads as `interrupted`.
    """
    status = table_or_none(run_dir / "status.json")
    if status is None or "state" not in status:
        return None
    status = dict.fromkeys(("value", "error", "ended", "start", "end")) | {"overrides": [], "before": 0.0} | status
    if status["state"] == "running" and not is_held(run_dir):
        status["state"] = "interrupted"
    return status


def computed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that decides the result, as dotted keys."""
    return deciding(config, Decides.WEIGHTS, Decides.SCORES)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Twelve hex digits of what a resolved configuration computes."""
    return hashlib.sha256(json.dumps(computed(config), sort_keys=True, default=str).encode()).hexdigest()[:12]


def _seconds(run_dir: Path, status: Mapping[str, Any] | None) -> float:
    """What the attempts took that `status` tells of; one that was killed, until its last line of metrics.

    Lines of older versions tell no time: then it is the file's, which a copy may have changed.
    """
    if status is None or status["start"] is None:
        return 0.0
    metrics, end = run_dir / "metrics.jsonl", status["end"]
    if end is None:
        rows = read_lines(metrics, of_a_step).rows
        written = metrics.stat().st_mtime if metrics.is_file() else status["start"]
        end = min(time.time(), (rows[-1].get("perf/time") if rows else None) or written)
    return float(status["before"] + max(0.0, end - status["start"]))


class Status:
    """`status.json` of one run, to be written once its `content` holds: a run that is refused stays as it was."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], overrides: list[str]) -> None:
        previous = read_status(run_dir)
        self.path = run_dir / "status.json"
        self.content: dict[str, Any] = {
            "state": "running",
            "name": config["name"],
            "task": config["task"],
            "fingerprint": fingerprint(config),
            "overrides": overrides,
            "attempt": (previous or {}).get("attempt", 0) + 1,
            "value": None,
            "error": None,
            "ended": None,  # why before its last step
            "start": time.time(),
            "end": None,
            "before": 0.0 if config.get("resume") == "never" else _seconds(run_dir, previous),  # of earlier attempts
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "scheduled": os.environ.get("SLURM_JOB_ID"),
        }

    def write(self) -> None:
        write_json(self.path, self.content)

    @property
    def written(self) -> bool:
        """Whether this start is what the directory tells of, also where another process has written it."""
        record = table_or_none(self.path)
        return record is not None and all(record.get(name) == self.content[name] for name in ("start", "pid", "host"))

    def finish(
        self, state: str, value: float | None = None, error: str | None = None, ended: str | None = None
    ) -> None:
        self.content |= {"state": state, "value": value, "error": error, "ended": ended, "end": time.time()}
        write_json(self.path, self.content)
