"""Whether two sets of files are the same data, wherever they lie: names and sizes, which copying does not change."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

LOOKED_AT = 1024  # samples of a set whose files' sizes are looked at, spread evenly over it: a moment on any storage


def contents_of(names: str, count: int, files: Callable[[int], Sequence[Path]]) -> str:
    """Sixteen hex digits of all `names` (a digest of them) and of the sizes of the `files` of some of the samples."""
    positions = np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(int) if count else []
    digest = hashlib.blake2b(f"{names} {count}".encode(), digest_size=8)
    for position in positions:
        for file in files(int(position)):
            digest.update(f" {file.stat().st_size if file.is_file() else None}".encode())
    return digest.hexdigest()
