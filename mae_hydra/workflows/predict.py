"""What a model says about pictures of one's own: class maps and overlays, or reconstructions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from mae_hydra import atomic
from mae_hydra.data import read_image
from mae_hydra.data.decoding.measure_range import Settled, settle_files
from mae_hydra.data.decoding.pixel_range import AUTO
from mae_hydra.engine.settings import AUTOCAST
from mae_hydra.errors import UserError
from mae_hydra.owned import Owned
from mae_hydra.recorded.pixel_range import recorded_range
from mae_hydra.terminal import watched
from mae_hydra.types import answers, channels_of
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.workflows import entry
from mae_hydra.workflows.predict_classes import Classes
from mae_hydra.workflows.predict_inputs import listed, named
from mae_hydra.workflows.predict_maps import Segmentations
from mae_hydra.workflows.predict_options import COMMAND, Options, Outcome, refuse_options
from mae_hydra.workflows.predict_panels import Reconstructions


def predict(path: str | Path, words: Sequence[str], options: Options) -> Outcome:
    """Predict for every picture that `words` name (files, folders, patterns); a broken one does not stop the others."""
    atomic.check_writable(options.out, "give another folder with --out")
    checkpoint = read_checkpoint(path, prefer="best", download=True)
    notes: list[str] = []
    pictures = list(named(listed(words, notes), options.limit))
    model = entry.model_from(checkpoint).to(_device(options.device))
    answer = answers(model)
    writer: Segmentations | Reconstructions | Classes
    if answer == "reconstruction":
        writer = Reconstructions(model, path, options)
    elif answer == "pixels":
        writer = Segmentations(model, checkpoint, path, options)
    elif answer == "images":
        others = ("inference", "probabilities", "as_stored", "mask_ratios", "seeds")
        refuse_options(options, path, "a classifier", others)
        writer = Classes(model, checkpoint, options.out)
    else:
        held = (
            "an encoder alone" if hasattr(model, "tokens") else f"a {type(model).__name__}, which declares no answers"
        )
        raise UserError(f"{path} holds {held}; predict takes a UPerNet, a classifier or a masked autoencoder")
    channels = channels_of(model)
    missing = _missing(writer, pictures, options)
    settled = _settled(options, checkpoint, channels, [file for file, _ in pictures])
    for note in (*notes, *writer.notes, *settled.notes):
        print(note, flush=True)
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    groups = [missing[start : start + options.batch] for start in range(0, len(missing), options.batch)]
    with _autocast(options):
        for group in track(groups, "predicting", transient=True, disable=not watched()):
            read = []
            for file, name in group:
                try:
                    read.append((read_image(file, channels, settled.pixel_range), name))
                except UserError as error:
                    failed.append((file, str(error)))
            written += writer.write([image for image, _ in read], [name for _, name in read])
    return Outcome(written, failed, len(pictures) - len(missing))


def _settled(options: Options, checkpoint: Checkpoint, channels: int, files: Sequence[Path]) -> Settled:
    """The range that was told or that the model was trained with, else one measured from all of the pictures."""
    recorded = recorded_range(checkpoint.meta, checkpoint.path)
    told = options.range or (recorded.pairs() if recorded is not None else AUTO)
    told_by = "--range" if options.range else "as in training"
    return settle_files(told, channels, Path(), [str(file) for file in files], told_by=told_by)


def _missing(writer: Any, pictures: list[tuple[Path, str]], options: Options) -> list[tuple[Path, str]]:
    """What is to be predicted; a UserError where that would replace something unasked, or of somebody else."""
    if options.overwrite:
        owned = Owned(options.out, COMMAND)
        for _, name in pictures:
            for file in writer.files(name):
                owned.check(file)
        return pictures
    if options.skip_existing:
        return [(file, name) for file, name in pictures if not all(each.exists() for each in writer.files(name))]
    for _, name in pictures:
        for file in writer.files(name):
            if file.exists():
                raise UserError(
                    f"{file} is there already; give another --out, or add --skip-existing to go on with what is "
                    "missing, or --overwrite"
                )
    return pictures


def _autocast(options: Options) -> torch.autocast:
    kind = _device(options.device).type
    precision = options.precision if options.precision != "auto" else ("bf16" if kind == "cuda" else "fp32")
    return torch.autocast(kind, dtype=AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
