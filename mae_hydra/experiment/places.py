"""Where the data of a run lie: its `config.yaml` may say so anew, and nothing else in place of its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mae_hydra.experiment.changes import shown

PLACES = ("root", "cache")  # of the data
HOW = ("num_workers", "prefetch", "cache_gb", "batch_size")


def with_places(record: Mapping[str, Any], checkpoint: Path) -> tuple[dict[str, Any], list[str]]:
    """`record`, the checkpoint's own configuration, with the places of the data that the run's file tells, and a
    sentence for what that file says otherwise of the data: the weights were trained by what they carry."""
    run = checkpoint.parent.parent
    told, data = _data_of(run / "config.yaml"), record.get("data")
    if checkpoint.parent.name != "checkpoints" or not told or not isinstance(data, Mapping):
        return dict(record), []
    places = {name: told[name] for name in PLACES if name in told and name in data}
    notes = [
        f"{run / 'config.yaml'} has data.{name} {shown(told[name])}, which is not what was trained by: "
        f"{shown(value)} counts, as the checkpoint carries it"
        for name, value in data.items()
        if name in told and told[name] != value and name not in PLACES + HOW
    ]
    return {**record, "data": {**data, **places}}, notes


def _data_of(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    data = content.get("data") if isinstance(content, Mapping) else None
    return data if isinstance(data, Mapping) else {}
