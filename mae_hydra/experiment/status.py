"""`status.json`: what state a run is in, and the fingerprint of what it computes.

States: running, completed, failed, interrupted. A killed process leaves `running` behind, so the process id and the
host are looked at before it is believed.
"""

import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.experiment import from_file

JOB = "SLURM_JOB_ID"  # in the environment; stays the same when the job is queued again

# Keys that say where or how a run happens, not what it computes.
NOT_RESULTS = (
    "paths", "logger", "tags", "notes", "resume", "name", "group", "fail_fast", "then", "checkpoint", "data.root",
    "data.num_workers", "data.prefetch", "data.cache", "data.cache_gb", "engine.log_every", "engine.devices",
    "engine.parallel", "engine.profile_steps", "engine.nonfinite_limit", "engine.recompute",
)  # fmt: skip


def write_json(path: Path, content: Any) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of it. NaN and infinity are null."""
    with atomic.writing(path) as temporary, open(temporary, "w") as file:
        json.dump(_finite(content), file, indent=2, default=str, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """What a file holds, or None where there is none; UserError where it cannot be read."""
    return from_file.read_json(path)


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
    try:
        status = json.loads((run_dir / "status.json").read_text())
    except (OSError, ValueError, RecursionError):  # none, half of one, or something else
        return None
    if not isinstance(status, dict) or not isinstance(status.get("state"), str):
        return None
    status = dict.fromkeys(("value", "error", "start", "end")) | {"overrides": []} | status
    if status["state"] == "running" and not _alive(status):
        status["state"] = "interrupted"
    return status


def _alive(status: Mapping[str, Any]) -> bool:
    if status.get("scheduled") is not None and status["scheduled"] == os.environ.get(JOB):
        return False  # this job, queued again; perhaps on another machine
    if status.get("host") != socket.gethostname():
        return True  # cannot be known from here
    if status.get("pid") == os.getpid():
        return False  # this very process, in an earlier job: it did not get to write its end
    try:
        os.kill(int(status["pid"]), 0)
    except (ProcessLookupError, OverflowError, KeyError, TypeError, ValueError):  # or never the number of one
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested configuration; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def computed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that decides the result, as dotted keys."""
    return {
        key: value
        for key, value in flatten(config).items()
        if not any(key == skip or key.startswith(f"{skip}.") for skip in NOT_RESULTS)
        and not key.endswith(".num_workers")
    }


def fingerprint(config: Mapping[str, Any]) -> str:
    """Twelve hex digits of what a resolved configuration computes."""
    return hashlib.sha256(json.dumps(computed(config), sort_keys=True, default=str).encode()).hexdigest()[:12]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`schedule.total: 700 -> 800`, for every key that changes the result."""
    before, after = computed(old), computed(new)
    keys = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys]


class Status:
    """Writes `status.json` of one run."""

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
            "start": time.time(),
            "end": None,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "scheduled": os.environ.get(JOB),
        }
        write_json(self.path, self.content)

    def finish(self, state: str, value: float | None = None, error: str | None = None) -> None:
        self.content |= {"state": state, "value": value, "error": error, "end": time.time()}
        write_json(self.path, self.content)
