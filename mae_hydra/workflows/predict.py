"""What a model says about pictures of one's own: class maps and overlays, or reconstructions."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from mae_hydra import atomic
from mae_hydra.data import read_image
from mae_hydra.data.decoding.bands import Channels, endings_of, number_of
from mae_hydra.data.decoding.measure_range import Settled, settle_files
from mae_hydra.data.decoding.pixel_range import AUTO
from mae_hydra.data.listing import find_images, passed_over_note
from mae_hydra.errors import UserError
from mae_hydra.names import file_part
from mae_hydra.owned import Owned
from mae_hydra.precision import computing, note_of, resolved
from mae_hydra.products import faster, take
from mae_hydra.recorded.pixel_range import recorded_range
from mae_hydra.terminal import watched
from mae_hydra.types import answers, channels_of
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.workflows import entry
from mae_hydra.workflows.predict_classes import Classes
from mae_hydra.workflows.predict_maps import Segmentations
from mae_hydra.workflows.predict_options import COMMAND, Options, Outcome, data_of, refuse_options, wanted_channels
from mae_hydra.workflows.predict_panels import Reconstructions
from mae_hydra.workflows.rasters import Unwritable


def predict(path: str | Path, words: Sequence[str], options: Options) -> Outcome:
    """Predict for every picture that `words` name (files, folders, patterns); a broken one does not stop the others."""
    atomic.check_writable(options.out, "give another folder with --out")
    checkpoint = read_checkpoint(path, prefer="best", download=True)
    notes: list[str] = []
    wanted = wanted_channels(checkpoint)
    pictures = list(named(listed(words, notes, endings_of(wanted)), options.limit))
    device = _device(options.device)
    model = entry.model_from(checkpoint).to(device)
    take(faster(device.type))
    precision = resolved(options.precision, device.type, model.parameters())
    notes += note_of(options.precision, precision, device.type, "--precision ", model.parameters())
    answer = answers(model)
    writer: Segmentations | Reconstructions | Classes
    if answer == "reconstruction":
        writer = Reconstructions(model, path, options, checkpoint)
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
    if number_of(wanted) != channels_of(model):  # the file does not tell
        wanted = channels_of(model)
    large = writer.look_at(pictures) if isinstance(writer, Segmentations) else {}
    missing = _missing(writer, pictures, options)
    settled = _settled(options, checkpoint, wanted, [file for file, name in pictures if name not in large])
    for note in (*notes, *writer.notes, *settled.notes):
        print(note, flush=True)
    written: list[Path] = []
    failed: list[tuple[Path, str]] = []
    groups = [missing[start : start + options.batch] for start in range(0, len(missing), options.batch)]
    with computing(precision, device.type):
        for group in track(groups, "predicting", transient=True, disable=not watched()):
            read = []
            for file, name in group:
                try:
                    if name in large:
                        assert isinstance(writer, Segmentations)
                        written += writer.write_large(file, name, wanted, settled.pixel_range)
                    else:
                        read.append((read_image(file, wanted, settled.pixel_range), name))
                except Unwritable:
                    raise
                except UserError as error:
                    failed.append((file, str(error)))
            written += writer.write([image for image, _ in read], [name for _, name in read])
    return Outcome(written, failed, len(pictures) - len(missing))


def _settled(options: Options, checkpoint: Checkpoint, channels: Channels, files: Sequence[Path]) -> Settled:
    """The range that was told or that the model was trained with, else one measured from all of the pictures."""
    recorded = recorded_range(checkpoint.meta, checkpoint.path)
    told = options.range or (recorded.pairs() if recorded is not None else AUTO)
    told_by = "--range" if options.range else "as in training"
    bits = data_of(checkpoint).get("bits")
    bits = bits if bits in (8, 16) else None
    return settle_files(told, channels, Path(), [str(file) for file in files], told_by=told_by, bits=bits)


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


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def listed(words: Sequence[str], notes: list[str], endings: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
    """(file, what it is called in its folder) for files, everything below folders, and patterns.

    `notes` gets a line for each folder in which files are passed over.
    """
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            passed_over: Counter[str] = Counter()
            found = find_images(path, endings, passed_over)
            notes += passed_over_note(path, passed_over)
            if not found:
                raise UserError(f"there is no picture below {path}" + "".join(f"; {note}" for note in notes[-1:]))
            yield from ((path / name, Path(name)) for name in found)
        elif path.is_file():
            yield path, Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
            if not matches:
                raise UserError(f"there is no picture {word}; give files, a folder, or a pattern like 'photos/*.jpg'")
            yield from ((match, Path(match.name)) for match in matches)


def named(files: Iterator[tuple[Path, Path]], limit: int | None) -> Iterator[tuple[Path, str]]:
    """Every file once, with a name of its own for what is written: folders stay, equal names are numbered."""
    taken: set[str] = set()
    seen: set[Path] = set()
    for file, called in files:
        if file.resolve() in seen:
            continue
        if limit is not None and len(seen) >= limit:
            return
        seen.add(file.resolve())
        stem = "/".join(file_part(part) for part in called.with_suffix("").parts)
        name, number = stem, 1
        while name.lower() in taken:  # some file systems know no capitals
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        yield file, name
