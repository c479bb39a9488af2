"""Which runs of a list are meant: `task=segment val/mIoU>30 model.mask_ratio=0.75`, all of which must hold."""

import difflib
import fnmatch
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mae_hydra.errors import UserError
from mae_hydra.experiment.many.listing import Row
from mae_hydra.lines import is_number

WORD = re.compile(r"([\w./@-]+?)(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
COLUMNS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row.name,
    "task": lambda row: row.task,
    "state": lambda row: row.state,
    "step": lambda row: row.step,
    "monitor": lambda row: row.run.monitor,
    "best": lambda row: row.best,
    "best_step": lambda row: row.best_step,
    "last": lambda row: row.last,
    "last_step": lambda row: row.last_step,
    "age": lambda row: row.age,
    "took": lambda row: row.took,
    "size": lambda row: row.size,
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@dataclass(frozen=True)
class Filter:
    """`key` is a column, a scalar that was logged (its last value), a group, or a dotted key of the configuration."""

    key: str
    how: str
    wanted: str

    @classmethod
    def of(cls, word: str) -> "Filter":
        match = WORD.fullmatch(word)
        if match is None:
            raise UserError(
                f"{word} is neither a folder nor a filter; filters are task=segment, 'val/mIoU>30' or "
                "model.mask_ratio=0.75, those with < or > in quotes, which a shell needs"
            )
        key, how, wanted = match.groups()
        if how in ORDER and not is_number(_value(key, wanted)):
            raise UserError(f"{word} compares with {wanted!r}, which is no number")
        return cls(key, how, wanted)

    def takes(self, row: Row) -> bool:
        """Whether a run is one of those that are meant; one that has no such key is none."""
        known, value = value_of(row, self.key)
        if not known:
            return False
        if self.how in ORDER:
            return is_number(value) and ORDER[self.how](value, _value(self.key, self.wanted))
        return self._equals(value) is (self.how == "=")

    def _equals(self, value: Any) -> bool:
        wanted = _value(self.key, self.wanted)
        if is_number(value) and is_number(wanted):
            return bool(value == wanted)
        if isinstance(value, str):
            return fnmatch.fnmatchcase(value, self.wanted)
        return bool(value == wanted)


def value_of(row: Row, key: str) -> tuple[bool, Any]:
    """Whether a run has the key, and what it is there."""
    if key in COLUMNS:
        return True, COLUMNS[key](row)
    if key in row.run.metrics:
        return True, row.run.metrics[key]
    if key in row.settings:
        return True, row.settings[key]
    if key in row.choices:
        return True, row.choices[key]
    return False, None


def chosen(rows: Sequence[Row], filters: Sequence[Filter]) -> list[Row]:
    """The rows that every filter takes; UserError for a key that none of the runs has."""
    for each in filters:
        if not any(value_of(row, each.key)[0] for row in rows):
            raise UserError(f"none of the {len(rows)} runs has {each.key}{_close_to(rows, each.key)}")
    return [row for row in rows if all(each.takes(row) for each in filters)]


def _close_to(rows: Sequence[Row], key: str) -> str:
    known = {*COLUMNS, *(name for row in rows for name in (*row.run.metrics, *row.settings, *row.choices))}
    last = key.rpartition(".")[2]
    close = difflib.get_close_matches(key, known, 3, 0.7) or sorted(n for n in known if n.rpartition(".")[2] == last)
    if close:
        return f"; did you mean {', '.join(close[:3])}?"
    others = "what is logged (val/mIoU), groups (model=upernet_vitb) and keys of the configuration (model.mask_ratio)"
    return f"; there are {', '.join(COLUMNS)}, {others}"


def _value(key: str, text: str) -> Any:
    """A value as it is typed; ages and sizes with a unit: age<2d, size>1GB."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([A-Za-z]+)", text)
    if key in ("age", "took", "size") and match is not None and match[2] in UNITS:
        return float(match[1]) * UNITS[match[2]]
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
