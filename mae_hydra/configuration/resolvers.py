"""Interpolations of the configuration tree: sizes, and the names of run and sweep directories."""

import functools
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mae_hydra.configuration.job_names import slug

FUSED_WIDTH = 512


def run_dir(resume: str | None, fresh: str, root: str) -> str:
    """The directory of a single run: the one that is resumed in place, otherwise a fresh one.

    A run of W&B's agent has one that follows from its id, so that one which is handed out again goes on.
    """
    if resume in (None, "auto", "never") or not Path(str(resume)).is_dir():
        sweep, run = (os.environ.get(f"WANDB_{what}_ID", "") for what in ("SWEEP", "RUN"))
        known = all(re.fullmatch(r"[\w-]+", name) for name in (sweep, run))
        return f"{root}/sweeps/{sweep}/{run}" if known else fresh
    return str(resume).rstrip(os.sep)


def width(widths: int | Sequence[int], index: int) -> int:
    """Give the width of the map at `index` out of a backbone's `embed_dim`, one number or one for each map."""
    return widths if isinstance(widths, int) else widths[index]


def pooled_width(widths: int | Sequence[int], pool: str, num_cls_tokens: int) -> int:
    """What a classifier's head gets of tokens, or of a last map, that `pool` makes one vector of."""
    last = width(widths, -1)
    if pool in ("mean", "cls"):
        return last
    from mae_hydra.models import pooling  # torch is imported only where it is needed

    return pooling.pooled_width(last, pool, num_cls_tokens)


def fused_width(widths: int | Sequence[int]) -> int:
    """The channels of UPerNet's decode head: the backbone's, or 512 where its maps have several widths."""
    return widths if isinstance(widths, int) else (widths[0] if len(set(widths)) == 1 else FUSED_WIDTH)


def timm_widths(name: str, indices: Sequence[int] | None) -> Any:
    """The widths of the maps of one of timm's models, one number where all are equal."""
    found = _asked(name, None if indices is None else tuple(indices))
    return found if isinstance(found, int) else OmegaConf.create(found)


@functools.cache
def _asked(name: str, indices: tuple[int, ...] | None) -> list[int] | int:
    from mae_hydra.models.encoders.timm_encoder import widths_of  # timm is asked only where it is chosen

    return widths_of(name, indices)


def register() -> None:
    """Make the resolvers known to OmegaConf; safe to call more than once."""
    resolvers: dict[str, Any] = {
        "mul": lambda a, b: a * b,
        "equal": lambda a, b: a == b,
        "unequal": lambda a, b: a != b,
        "pooled_width": pooled_width,
        "slug": slug,
        "run_dir": run_dir,
        "named": lambda name, otherwise: name or otherwise,
        "width": width,
        "fused_width": fused_width,
        "timm_widths": timm_widths,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    # Cached: one id for all jobs of a sweep, and for every interpolation of one run.
    OmegaConf.register_new_resolver("uid", lambda: secrets.token_hex(2), use_cache=True, replace=True)
