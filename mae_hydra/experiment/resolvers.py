"""Interpolations of the configuration tree: sizes, and the names of run and sweep directories."""

import hashlib
import os
import re
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path

from omegaconf import OmegaConf

# Overrides that say where or how a run happens, not what it computes, do not name its directory.
UNNAMED = {"hydra", "paths", "logger", "tags", "notes", "resume", "fail_fast", "local", "sweep", "group"}
LONGEST_NAME = 100


def slug(overrides: Iterable[str], swept: Collection[str] = ()) -> str:
    """A directory name for a sweep job: `mask_ratio-0.5_seed-1-3f9c2a`; the keys that `swept` names stand first.

    Sorted, so that the order on the command line does not matter; hashed over whole keys and values, so that cut or
    equal short names do not collide; free of `=` and `,`, which the override grammar cannot carry in a path.
    """
    kept = sorted(o.lstrip("+") for o in overrides if re.split(r"[./=@]", o.lstrip("+~"))[0] not in UNNAMED)
    if not kept:
        return "defaults"
    pairs = sorted((o.partition("=")[::2] for o in kept), key=lambda pair: pair[0] not in swept)
    parts = [f"{key.rsplit('.', 1)[-1]}-{value}" for key, value in pairs]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts))[:LONGEST_NAME].strip("-")
    return f"{readable}-{hashlib.sha256(repr(kept).encode()).hexdigest()[:6]}"


def run_dir(resume: str | None, fresh: str) -> str:
    """The directory of a single run: the one that is resumed in place, otherwise a fresh one."""
    if resume in (None, "auto", "never") or not Path(str(resume)).is_dir():
        return fresh
    return str(resume).rstrip(os.sep)


def register() -> None:
    """Make the resolvers known to OmegaConf; safe to call more than once."""
    resolvers = {"mul": lambda a, b: a * b, "int_div": lambda a, b: a // b, "slug": slug, "run_dir": run_dir}
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    # Cached: one id for all jobs of a sweep, and for every interpolation of one run.
    OmegaConf.register_new_resolver("uid", lambda: secrets.token_hex(2), use_cache=True, replace=True)
