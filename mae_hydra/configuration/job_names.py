"""The directories of a sweep's jobs: names that follow from what was typed, so the same command finds them again."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from mae_hydra.configuration.key_meaning import meaning_of

LONGEST_NAME = 100
SWEPT = "MAE_HYDRA_SWEPT"  # environment of a job: the keys that its sweep goes over


def slug(overrides: Iterable[str], swept: Collection[str] | None = None, sweep_dir: str | None = None) -> str:
    """A directory name for a sweep job: `mask_ratio-0.5_seed-1-3f9c2a`; the keys that are swept stand first.

    `swept`: those of a sweep file; without one, the keys that were typed with several values. A directory in
    `sweep_dir` that an older version named without looking at typed ones keeps its name.

    Sorted, so that the order on the command line does not matter; hashed over whole keys and values, so that cut or
    equal short names do not collide; free of `=` and `,`, which the override grammar cannot carry in a path.
    """
    overrides = list(overrides)
    name = _name(overrides, set(swept or ()))
    if swept or sweep_dir is None or Path(sweep_dir, name).is_dir():
        return name
    return _name(overrides, set(swept_keys()))


def swept_keys() -> list[str]:
    """The keys that the sweep goes over which this process runs, or is a job of."""
    with suppress(ValueError, TypeError):
        return list(map(str, json.loads(os.environ.get(SWEPT, "[]"))))
    return []


def _name(overrides: Iterable[str], swept: Collection[str]) -> str:
    kept = sorted(o.lstrip("+") for o in overrides if not unnamed(o) or o.partition("=")[0] in swept)
    if not kept:
        return "defaults"
    pairs = sorted((o.partition("=")[::2] for o in kept), key=lambda pair: pair[0] not in swept)
    parts = [f"{key.rsplit('.', 1)[-1]}-{value}" for key, value in pairs]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts))[:LONGEST_NAME].strip("-")
    return f"{readable}-{hashlib.sha256(repr(kept).encode()).hexdigest()[:6]}"


def unnamed(override: str) -> bool:
    """Whether an override stays out of the names of directories: it says where or how, not what is computed."""
    return not meaning_of(re.split(r"[./=@]", override.lstrip("+~"))[0]).names_job
