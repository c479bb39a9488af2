"""The small files of a run directory, each a table whose values are of the kinds that a run writes.

Anybody may have written them. `read_table` tells what is wrong with one, `table_or_none` goes on without it; both look
at no more than a run may write, and at the kinds once, so that nobody who takes a value has to.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mae_hydra.configuration.from_file import read_json, read_recorded, wrong_kind
from mae_hydra.errors import UserError
from mae_hydra.lines import is_number

Kind = tuple[type, ...] | Callable[[Any], bool]


def is_texts(value: Any) -> bool:
    """Tell whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def is_table_of_texts(value: Any) -> bool:
    """Tell whether a value is a table of lists of texts."""
    return isinstance(value, dict) and all(map(is_texts, value.values()))


def is_precision(value: Any) -> bool:
    """Tell whether a value is None, or a precision that a run computes in."""
    from mae_hydra.precision import AUTOCAST  # and torch, which showing a configuration does without

    return value in (None, "fp32", *AUTOCAST)


def is_library(value: Any) -> bool:
    """Tell whether a value is None, or the library that makes a run's products."""
    from mae_hydra.products import LIBRARIES  # and torch

    return value in (None, *LIBRARIES)


def is_numbers(value: Any) -> bool:
    """Tell whether a value is None, or a list of numbers."""
    return value is None or (isinstance(value, list) and all(type(each) in (int, float) for each in value))


def is_text(value: Any) -> bool:
    """Tell whether a value is None, or a text that can be a path."""
    return value is None or (isinstance(value, str) and "\0" not in value)


def is_score(value: Any) -> bool:
    """Tell whether a value is None, or a number that a float can hold."""
    return value is None or is_number(value)


def is_time(value: Any) -> bool:
    """Tell whether a value is None, or seconds since 1970 that a calendar has."""
    return value is None or (is_number(value) and 0 <= value < 1e11)


def is_duration(value: Any) -> bool:
    """Tell whether a value is a number of seconds."""
    return value is not None and is_time(value)


TEXT: Kind = is_text
TABLE, LIST = (dict,), (list,)
DATA: Mapping[str, Kind] = {
    "root": TEXT, "classes": is_texts, "class_weights": is_numbers, "precision": is_precision, "products": is_library,
    "train": TABLE, "validation": TABLE,
    **{f"{split}.{key}": kind for split in ("train", "validation")
       for key, kind in {"images": (int, type(None)), "contents": TEXT, "listing": TEXT}.items()},
}  # fmt: skip
KINDS: Mapping[str, Mapping[str, Kind]] = {
    "status.json": {
        "state": (str,), "value": is_score, "start": is_time, "end": is_time, "error": TEXT, "ended": TEXT,
        "overrides": LIST, "attempt": (int,), "before": is_duration,
    },
    "config.yaml": {
        "checkpoint": TABLE, "name": TEXT, "task": TEXT, "model": TABLE, "data": TABLE, "optimizer": TABLE,
        "paths": TABLE,
    },
    "environment.json": {
        "packages": TABLE, "variables": TABLE, "choices": TABLE, "accelerators": LIST, "config_folders": is_texts,
        "command": is_texts, "folder": TEXT, "config_name": TEXT,
    },
    "git.json": {"commit": TEXT, "branch": TEXT},
    "data.json": DATA,
    "parent.json": {"path": TEXT, "sha256": TEXT, "name": TEXT, "revision": TEXT},
    "fingerprint.json": {"fingerprint": TEXT, "data": TEXT},
    "study.json": {"out": TEXT, "arms": is_table_of_texts, "words": is_texts, "pretrain": is_texts},
}  # fmt: skip


def read_table(file: Path) -> dict[str, Any] | None:
    """The table in a file of a run, JSON or YAML by its name; None where there is none.

    UserError, which names the file, where it cannot be read or a value is of a kind that no run writes there.
    """
    there = os.path.lexists(file)
    content = read_json(file) if file.suffix == ".json" else read_recorded(file) if there else None
    if content is None and (not there or file.name == "parent.json"):  # null of a run that began from no file
        return None
    complaint = wrong_kind(content, KINDS.get(file.name, {}))
    if complaint is not None:
        raise UserError(f"{file} is not what a run writes ({complaint}); get it again, or remove it")
    assert isinstance(content, dict)
    return content


def table_or_none(file: Path) -> dict[str, Any] | None:
    """Read a table as `read_table` does; None also where the file is damaged or somebody else's."""
    try:
        return read_table(file)
    except UserError:
        return None
