"""What predicting can be asked for, and where its files go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.errors import UserError
from mae_hydra.owned import Owned

COMMAND = "predict"
MOST_LIKELY = 5  # classes whose probabilities are kept


@dataclass(frozen=True)
class Options:
    """`inference` (None: slide) and `probabilities` are of a UPerNet, `mask_ratios` (None: 0.5, 0.75, 0.9) and `seeds`
    (None: 0) of a masked autoencoder's panels. `as_stored`: class maps have the numbers of the data set. `batch`:
    pictures in memory, and looked at together, at a time. `range`: what becomes 0 and 255 of pictures of more than 8
    bits (None: as in training)."""

    out: Path
    inference: str | None = None
    probabilities: bool = False
    batch: int = 1
    device: str = "auto"
    precision: str = "auto"
    limit: int | None = None
    overwrite: bool = False
    skip_existing: bool = False
    mask_ratios: tuple[float, ...] | None = None
    seeds: tuple[int, ...] | None = None
    as_stored: bool = False
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """`failed`: (file, what was wrong with it). `skipped`: how many pictures had been predicted before."""

    written: list[Path]
    failed: list[tuple[Path, str]]
    skipped: int


def refuse_options(options: Options, path: str | Path, held: str, names: Sequence[str]) -> None:
    """UserError where an option was given that is of another kind of model."""
    owners = dict.fromkeys(("inference", "probabilities", "as_stored"), "a segmentation model")
    for name in names:
        if getattr(options, name):
            option, owner = f"--{name.replace('_', '-')}", owners.get(name, "a masked autoencoder")
            raise UserError(f"{option} is of {owner}, and {path} holds {held}; leave it out")


def write_file(owned: Owned, file: Path, draw: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(owned.claim(file)) as temporary, open(temporary, "wb") as stream:
        draw(stream)
