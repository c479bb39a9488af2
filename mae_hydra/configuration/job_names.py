"""The directories of a sweep's jobs: names that follow from what was typed, so the same command finds them again."""

import hashlib
import re
from collections.abc import Collection, Iterable

from mae_hydra.configuration.key_meaning import meaning_of

LONGEST_NAME = 100


def slug(overrides: Iterable[str], swept: Collection[str] | None = None) -> str:
    """A directory name for a sweep job: `mask_ratio-0.5_seed-1-3f9c2a`; the keys that `swept` names stand first.

    Sorted, so that the order on the command line does not matter; hashed over whole keys and values, so that cut or
    equal short names do not collide; free of `=` and `,`, which the override grammar cannot carry in a path.
    """
    swept = set(swept or ())
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
