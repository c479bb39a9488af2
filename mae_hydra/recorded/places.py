"""Where the data of a run lie: its `config.yaml` may say so anew, and nothing else in place of its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_hydra.configuration.changes import shown
from mae_hydra.configuration.key_meaning import meaning_of
from mae_hydra.errors import short
from mae_hydra.recorded.tables import table_or_none

PLACES = ("root", "cache")  # of the data


def with_places(record: Mapping[str, Any], checkpoint: Path) -> tuple[dict[str, Any], list[str]]:
    """`record`, the checkpoint's own configuration, with the places of the data that the run's file tells, and a
    sentence for what that file says otherwise of the data: the weights were trained by what they carry."""
    run = checkpoint.parent.parent
    told: Mapping[str, Any] = (table_or_none(run / "config.yaml") or {}).get("data", {})
    data = record.get("data")
    if checkpoint.parent.name != "checkpoints" or not told or not isinstance(data, Mapping):
        return dict(record), []
    places = {name: told[name] for name in PLACES if name in told and name in data}
    notes = [
        f"{run / 'config.yaml'} has data.{name} {short(shown(told[name]))}, which is not what was trained by: "
        f"{short(shown(value))} counts, as the checkpoint carries it"
        for name, value in data.items()
        if name in told and told[name] != value and name not in PLACES and meaning_of(f"data.{name}").scores
    ]
    return {**record, "data": {**data, **places}}, notes
