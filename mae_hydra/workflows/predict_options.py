"""What predicting can be asked for, where its files go, and what the checkpoint's data were."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.data.decoding.bands import Channels, number_of, shown_channels
from mae_hydra.errors import UserError
from mae_hydra.owned import Owned
from mae_hydra.weights import Checkpoint

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


def data_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the data of the training was configured with, as far as is known."""
    data = (checkpoint.meta.get("config") or {}).get("data")
    return data if isinstance(data, dict) else {}


def wanted_channels(checkpoint: Checkpoint) -> Channels:
    """The bands of a file that the model was trained on, or how many channels."""
    bands, channels = data_of(checkpoint).get("bands"), data_of(checkpoint).get("channels")
    if isinstance(bands, list) and bands and all(type(band) is int and band > 0 for band in bands):
        return tuple(bands)
    return channels if isinstance(channels, int) else 3


def shown_of(checkpoint: Checkpoint) -> tuple[int, ...]:
    """Choose the channels that pictures show, as the training's data did."""
    data = data_of(checkpoint)
    return shown_channels(number_of(wanted_channels(checkpoint)), data.get("bands"), data.get("shown_bands"))


def refuse_options(options: Options, path: str | Path, held: str, names: Sequence[str]) -> None:
    """UserError where an option was given that is of another kind of model."""
    owners = dict.fromkeys(("inference", "probabilities", "as_stored"), "a segmentation model")
    for name in names:
        if getattr(options, name):
            option, owner = f"--{name.replace('_', '-')}", owners.get(name, "a masked autoencoder")
            raise UserError(f"{option} is of {owner}, and {path} holds {held}; leave it out")


def write_file(owned: Owned, file: Path, draw: Any) -> None:
    """Write a file of this command's own, whole or not at all; `draw` gets the stream."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(owned.claim(file)) as temporary, open(temporary, "wb") as stream:
        draw(stream)
