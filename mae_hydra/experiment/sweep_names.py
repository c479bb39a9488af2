"""What trackers call the jobs of a sweep: by what was swept (`mask_ratio-0.5_seed-1`), in the group of the sweep.

The process that runs a sweep knows what is swept; a job may be another process, on another machine. So the keys travel
in its environment, which every launcher hands on.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from mae_hydra.configuration.command_words import key_of, parsed
from mae_hydra.configuration.job_names import SWEPT, swept_keys
from mae_hydra.names import clean, shortened
from mae_hydra.recorded.tables import table_or_none


def tell_jobs(config: DictConfig) -> None:
    """Put what the sweep that begins goes over into the environment of its jobs."""
    words = parsed(config.hydra.overrides.task)
    typed = [str(override.key_or_group) for override in words if override.is_sweep_override()]
    os.environ[SWEPT] = json.dumps(list(dict.fromkeys([*(config.hydra.sweeper.get("params") or ()), *typed])))


def name_job(config: DictConfig, run_dir: Path, words: Sequence[str]) -> None:
    """Set the group, and the name in loggers that call the run by its own `name`, where this is a job of a sweep.

    `words`: what was typed for it. What follows a job is called after it: `mask_ratio-0.5/upernet`.
    """
    before = table_or_none(run_dir.parent / "config.yaml") if (run_dir.parent / "status.json").is_file() else None
    if before is not None:
        group, label = before.get("group"), f"{_name_in(before) or run_dir.parent.name}/{run_dir.name}"
    else:
        group, label = run_dir.parent.name, _label(words)
    if not label or not isinstance(group, str):
        return
    if config.group is None:
        config.group = group
    for node in config.logger.values():
        if node.get("name") == config.name:
            node.name = shortened(clean(label))


def _label(words: Sequence[str]) -> str:
    values = {key_of(word): word.partition("=")[2] for word in words}
    pairs = [(key_of(key), values[key_of(key)]) for key in swept_keys() if key_of(key) in values]
    return "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in pairs)


def _name_in(config: dict) -> str | None:
    """What the loggers of a recorded run call it, where that is not its own name."""
    loggers = config.get("logger")
    nodes = loggers.values() if isinstance(loggers, dict) else ()
    names = [node["name"] for node in nodes if isinstance(node, dict) and isinstance(node.get("name"), str)]
    return next((name for name in names if name != config.get("name")), None)
