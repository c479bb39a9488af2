"""What a resumed run goes on with: the configuration that its checkpoint carries, with the words that are typed on top.

Hydra composes today's option files. Of that is taken what a word changes, whatever follows it included, and what is of
this start and this machine; everything else is as it was recorded.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.configuration.changes import at, shown
from mae_hydra.configuration.from_file import literal
from mae_hydra.configuration.interpolations import resolved
from mae_hydra.configuration.key_meaning import flatten
from mae_hydra.errors import UserError
from mae_hydra.experiment.same_run import Trained, same_weights
from mae_hydra.recorded.options import composed

OF_THIS_START = ("paths", "resume", "resume_data", "fail_fast")
NOTHING = object()


def as_recorded(
    config: DictConfig, run_dir: Path, without: Sequence[str], trained: Trained | None
) -> tuple[DictConfig, str]:
    """`config`, composed to go on in `run_dir`, with its recorded values where no typed word reaches; and in words what
    today's option files would have had, empty where they agree.

    `without`: the command line without the typed words; `trained`: what was trained in `run_dir`.
    """
    try:
        now = resolved(config)
    except OmegaConfBaseException:  # the check of the configuration says what does not resolve
        return config, ""
    if trained is None or trained.config is None:
        return config, ""
    record = trained.config
    todays: tuple[str, ...] = OF_THIS_START
    if at(now, "data").get("_target_") == at(record, "data").get("_target_"):
        todays = (*todays, "data.root", "data.cache")
    if now.get("init_from") != record.get("init_from") and same_weights(run_dir, now.get("init_from")):
        todays = (*todays, "init_from")  # its file has moved
    if _on_top(now, now, record, todays) == now:
        return config, ""
    made = _on_top(now, _of(without, record), record, todays)
    return literal(made), _told(made, now)


def _of(words: Sequence[str], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What these words compose, resolved; the record itself where today's option files no longer make anything of them:
    all in which they differ counts as typed then, and is refused where it must not differ."""
    try:
        return resolved(OmegaConf.create(composed(words)))
    except (UserError, OmegaConfBaseException):
        return record


def _on_top(now: Any, without: Any, record: Any, todays: Collection[str], key: str = "") -> Any:
    """`record` wherever `now` is as `without`; at the keys of `todays` always `now`."""
    if key in todays and now is not NOTHING and record is not NOTHING:
        return now
    if isinstance(now, Mapping) and isinstance(record, Mapping):
        before = without if isinstance(without, Mapping) else {}
        names = [*record, *(name for name in now if name not in record)]
        made = {
            name: _on_top(
                now.get(name, NOTHING),
                before.get(name, NOTHING),
                record.get(name, now[name] if not key and name not in record else NOTHING),
                todays,
                f"{key}.{name}" if key else str(name),
            )
            for name in names
        }
        return {name: value for name, value in made.items() if value is not NOTHING}
    return now if now != without else record


def _told(made: Mapping[str, Any], now: Mapping[str, Any], most: int = 8) -> str:
    """`optimizer.lr 0.1, not 0.2`, for each key that today's option files have otherwise."""
    ours, theirs = flatten(made), flatten(now)
    keys = [key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key, NOTHING) != theirs.get(key, NOTHING)]
    lines = [f"{key} {_shown(ours, key)}, not {_shown(theirs, key)}" for key in keys]
    return "; ".join(lines[:most]) + (" …" if len(lines) > most else "")


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return shown(flat[key]) if key in flat else "absent"
