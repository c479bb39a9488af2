"""What a model says about pictures of one's own: class maps and overlays, or reconstructions."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from mae_hydra import atomic
from mae_hydra.configuration.construct import build
from mae_hydra.data import distinct_colours, read_image
from mae_hydra.data.augment.crops import resize_bicubic
from mae_hydra.data.decoding.bands import Channels, endings_of, number_of, shown_channels
from mae_hydra.data.decoding.measure_range import Settled, settle_files
from mae_hydra.data.decoding.pixel_range import AUTO, PixelRange
from mae_hydra.data.listing import find_images, passed_over_note
from mae_hydra.engine.settings import AUTOCAST
from mae_hydra.errors import UserError
from mae_hydra.evaluation.pictures import as_rgb, channels_last
from mae_hydra.figures import fit, legend_of, overlay, sheet
from mae_hydra.inference import Reconstruct
from mae_hydra.names import file_part
from mae_hydra.owned import Owned
from mae_hydra.recorded.configuration import recorded
from mae_hydra.recorded.pixel_range import recorded_range
from mae_hydra.terminal import watched
from mae_hydra.types import answers, channels_of, image_size_of
from mae_hydra.weights import Checkpoint, read_checkpoint
from mae_hydra.workflows import entry, rasters
from mae_hydra.workflows.predict_classes import COMMAND, Classes
from mae_hydra.workflows.predict_labels import LabelFiles

OPACITY = 0.6
CELL = 640  # pixels of an overlay's longer side; the class map has the picture's own size
PANEL = 224
MASK_RATIOS = (0.5, 0.75, 0.9)
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


def predict(path: str | Path, words: Sequence[str], options: Options) -> Outcome:
    """Predict for every picture that `words` name (files, folders, patterns); a broken one does not stop the others."""
    atomic.check_writable(options.out, "give another folder with --out")
    checkpoint = read_checkpoint(path, prefer="best", download=True)
    notes: list[str] = []
    wanted = _wanted(checkpoint)
    pictures = list(_named(_listed(words, notes, endings_of(wanted)), options.limit))
    model = entry.model_from(checkpoint).to(_device(options.device))
    answer = answers(model)
    writer: _Segmentations | _Reconstructions | Classes
    if answer == "reconstruction":
        writer = _Reconstructions(model, path, options, checkpoint)
    elif answer == "pixels":
        writer = _Segmentations(model, checkpoint, path, options)
    elif answer == "images":
        others = ("inference", "probabilities", "as_stored", "mask_ratios", "seeds")
        _refuse_options(options, path, "a classifier", others)
        writer = Classes(model, checkpoint, options.out)
    else:
        held = (
            "an encoder alone" if hasattr(model, "tokens") else f"a {type(model).__name__}, which declares no answers"
        )
        raise UserError(f"{path} holds {held}; predict takes a UPerNet, a classifier or a masked autoencoder")
    if number_of(wanted) != channels_of(model):  # the file does not tell
        wanted = channels_of(model)
    large = writer.look_at(pictures) if isinstance(writer, _Segmentations) else {}
    missing = _missing(writer, pictures, options)
    settled = _settled(options, checkpoint, wanted, [file for file, name in pictures if name not in large])
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
                    if name in large:
                        assert isinstance(writer, _Segmentations)
                        written += writer.write_large(file, name, wanted, settled.pixel_range)
                    else:
                        read.append((read_image(file, wanted, settled.pixel_range), name))
                except UserError as error:
                    failed.append((file, str(error)))
            written += writer.write([image for image, _ in read], [name for _, name in read])
    return Outcome(written, failed, len(pictures) - len(missing))


def _data(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the data of the training was configured with, as far as is known."""
    data = (checkpoint.meta.get("config") or {}).get("data")
    return data if isinstance(data, dict) else {}


def _wanted(checkpoint: Checkpoint) -> Channels:
    """The bands of a file that the model was trained on, or how many channels."""
    bands, channels = _data(checkpoint).get("bands"), _data(checkpoint).get("channels")
    if isinstance(bands, list) and bands and all(type(band) is int and band > 0 for band in bands):
        return tuple(bands)
    return channels if isinstance(channels, int) else 3


def _shown(checkpoint: Checkpoint) -> tuple[int, ...]:
    data = _data(checkpoint)
    return shown_channels(number_of(_wanted(checkpoint)), data.get("bands"), data.get("shown_bands"))


def _settled(options: Options, checkpoint: Checkpoint, channels: Channels, files: Sequence[Path]) -> Settled:
    """The range that was told or that the model was trained with, else one measured from all of the pictures."""
    recorded = recorded_range(checkpoint.meta, checkpoint.path)
    told = options.range or (recorded.pairs() if recorded is not None else AUTO)
    told_by = "--range" if options.range else "as in training"
    bits = _data(checkpoint).get("bits")
    bits = bits if bits in (8, 16) else None
    return settle_files(told, channels, Path(), [str(file) for file in files], told_by=told_by, bits=bits)


def _refuse_options(options: Options, path: str | Path, held: str, names: Sequence[str]) -> None:
    """UserError where an option was given that is of another kind of model."""
    owners = dict.fromkeys(("inference", "probabilities", "as_stored"), "a segmentation model")
    for name in names:
        if getattr(options, name):
            option, owner = f"--{name.replace('_', '-')}", owners.get(name, "a masked autoencoder")
            raise UserError(f"{option} is of {owner}, and {path} holds {held}; leave it out")


class _Segmentations:
    """labels/<name>.png (indexed by class) with labels/classes.json, overlays/<name>.png, and where asked for
    probabilities/<name>.npz. Of a raster that lies somewhere on the earth also labels/<name>.tif, which lies there too;
    of a large one that alone.

    `notes`: what a person should know, in what way pictures are looked at otherwise than in training among it.
    """

    def __init__(self, model: Any, checkpoint: Checkpoint, path: str | Path, options: Options) -> None:
        _refuse_options(options, path, "a segmentation model", ("mask_ratios", "seeds"))
        self.model, self.options, self.owned = model, options, Owned(options.out, COMMAND)
        found = recorded(checkpoint, [f"inference={options.inference or 'slide'}"], ("inference",))
        self.notes = [*found.notes, *(f"{key} is {change}" for key, change in found.changes().items())]
        self.inference: Any = build(found.config.inference, "inference", origin=found.origin("inference"))
        if not hasattr(self.inference, "predict"):
            raise UserError("a UPerNet takes --inference slide, whole or multiscale_flip, got reconstruct")
        count, meta = model.num_classes, checkpoint.meta
        names, palette = meta.get("class_names"), meta.get("palette")
        known = isinstance(names, list) and len(names) == count
        self.class_names = tuple(names) if known and names else tuple(f"class {number}" for number in range(count))
        fits = isinstance(palette, list) and len(palette) == count
        self.palette = np.array(palette, dtype=np.uint8) if fits else distinct_colours(count)
        self.labels = LabelFiles(checkpoint, self.class_names, self.palette, as_stored=options.as_stored)
        if not options.overwrite:
            self.labels.check(options.out / "labels")
        self.shown = _shown(checkpoint)
        self._checkpoint = checkpoint
        self._large: dict[str, Path] = {}
        self._placed: dict[str, Path] = {}

    def look_at(self, pictures: Sequence[tuple[Path, str]]) -> dict[str, Path]:
        """Find out which pictures are rasters; those that are large, by name."""
        for file, name in pictures:
            with rasters.opened(file) as raster:
                if raster is not None and rasters.is_large(raster):
                    self._large[name] = file
                elif raster is not None and rasters.is_placed(raster):
                    self._placed[name] = file
        if self._large:
            if self.options.probabilities or (self.options.inference or "slide") != "slide":
                raise UserError(
                    f"{next(iter(self._large.values()))} has more than {rasters.LARGE} pixels and is looked at window "
                    "by window; leave out --probabilities and --inference"
                )
            if getattr(self.inference, "short", None) is not None:
                self.notes.append("note: rasters that are not read whole are looked at in pixels of their own")
        return self._large

    def files(self, name: str) -> list[Path]:
        labels, overlays = self.options.out / "labels", self.options.out / "overlays"
        endings = ["tif"] if name in self._large else ["png", "tif"] if name in self._placed else ["png"]
        files = [*(labels / f"{name}.{ending}" for ending in endings), overlays / f"{name}.png"]
        return [*files, self.options.out / "probabilities" / f"{name}.npz"] if self.options.probabilities else files

    def write(self, images: list[Tensor], names: list[str]) -> list[Path]:
        if images:
            self.labels.write_table(self.options.out / "labels", self.owned)
        if self.options.probabilities:
            return [file for image, name in zip(images, names, strict=True) for file in self._write_all(image, name)]
        maps = self.inference.predict(self.model, images)
        written: list[Path] = []
        for image, name, classes in zip(images, names, maps, strict=True):
            written += self._write_pictures(image, name, classes.cpu().numpy())
        return written

    def _write_all(self, image: Tensor, name: str) -> list[Path]:
        classes, kept, shares = self._probabilities(image)
        file = self.files(name)[-1]
        _write(self.owned, file, lambda stream: np.savez_compressed(stream, classes=kept, probabilities=shares))
        return [*self._write_pictures(image, name, classes), file]

    def _write_pictures(self, image: Tensor, name: str, classes: np.ndarray) -> list[Path]:
        files = [file for file in self.files(name) if file.suffix != ".npz"]
        _write(self.owned, files[0], lambda file: self.labels.picture(classes).save(file, format="PNG"))
        if name in self._placed:
            with rasters.opened(self._placed[name]) as raster:
                self._write_raster(raster, files[1], iter([(None, classes)]))
        self._write_overlay(files[-1], as_rgb(channels_last(image), self.shown), classes, name)
        return files

    def _write_raster(self, raster: Any, file: Path, maps: Iterator[tuple[Any, np.ndarray]]) -> None:
        """Class maps of windows, as the numbers that are written; where the raster has no data, so does its map."""
        most = int(self.labels.stored.max())

        def stored() -> Iterator[tuple[Any, np.ndarray]]:
            for window, classes in maps:
                values = self.labels.stored[classes]
                if raster.nodata is not None:
                    values = np.where(raster.dataset_mask(window=window) == 0, rasters.nowhere(most), values)
                yield window, values

        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic.writing(self.owned.claim(file)) as temporary:
            rasters.write(temporary, rasters.profile_of(raster, most), stored(), self.labels.colours[: most + 1])

    def write_large(self, file: Path, name: str, wanted: Channels, pixel_range: PixelRange | None) -> list[Path]:
        """The class map of a raster that is not read whole, and a small picture of it."""
        self.labels.write_table(self.options.out / "labels", self.owned)
        files = self.files(name)
        slide = self._slide()
        with rasters.opened(file) as raster:
            bands = rasters.bands_of(raster, wanted, file)

            def classes_of(window: Any) -> np.ndarray:
                image = rasters.as_pixels(raster.read(bands, window=window), raster, pixel_range, file)
                classes: np.ndarray = slide.predict(self.model, [image])[0].cpu().numpy()
                return classes

            self._write_raster(raster, files[0], rasters.parts(raster, slide.windows, classes_of))
            small = rasters.as_pixels(rasters.reduced(raster, bands, CELL), raster, pixel_range, file)
        with rasters.opened(files[0]) as written:
            stored = rasters.reduced(written, [1], CELL)[0]
        number_of = np.full(2**16, len(self.class_names), np.uint16)
        number_of[self.labels.stored] = np.arange(len(self.labels.stored))
        self._write_overlay(files[-1], as_rgb(channels_last(small), self.shown), number_of[stored], name)
        return files

    def _slide(self) -> Any:
        """Windows over pixels as they are."""
        found = recorded(self._checkpoint, ["inference=slide", "inference.short=null"], ("inference",))
        return build(found.config.inference, "inference", origin=found.origin("inference"))

    def _write_overlay(self, file: Path, rgb: np.ndarray, classes: np.ndarray, name: str) -> None:
        shown, large = fit(rgb, CELL), fit(classes, CELL, "nearest")
        drawn = sheet(
            [[shown, overlay(shown, large, self.palette, opacity=OPACITY, boundaries=True)]],
            columns=["image", "prediction"],
            title=name,
            legend=legend_of([classes], self.class_names, self.palette),
            cell=CELL,
        )
        _write(self.owned, file, lambda stream: Image.fromarray(drawn).save(stream, format="PNG"))

    def _probabilities(self, image: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class map, and the most likely classes uint8 (k, H, W) with their probabilities float16 (k, H, W)."""
        scores = self.inference.scores(self.model, image)
        shares = scores if self.inference.gives_probabilities else scores.softmax(0)
        best = shares.topk(min(MOST_LIKELY, len(shares)), dim=0)
        kind = torch.uint8 if len(scores) <= 256 else torch.uint16
        kept = best.indices.to(kind).cpu().numpy()
        return scores.argmax(0).to(kind).cpu().numpy(), kept, best.values.half().cpu().numpy()


class _Reconstructions:
    """panels/<name>.png: a row for every seed; the picture, then masked and predicted at every mask ratio."""

    notes: Sequence[str] = ()

    def __init__(self, model: Any, path: str | Path, options: Options, checkpoint: Checkpoint) -> None:
        _refuse_options(options, path, "a masked autoencoder", ("inference", "probabilities", "as_stored"))
        self.model, self.options, self.owned = model, options, Owned(options.out, COMMAND)
        self.shown = _shown(checkpoint)
        self.mask_ratios, self.seeds = options.mask_ratios or MASK_RATIOS, options.seeds or (0,)

    def files(self, name: str) -> list[Path]:
        return [self.options.out / "panels" / f"{name}.png"]

    def write(self, images: list[Tensor], names: list[str]) -> list[Path]:
        return [self._panel(image, name) for image, name in zip(images, names, strict=True)]

    def _panel(self, image: Tensor, name: str) -> Path:
        height, width = image_size_of(self.model) or tuple(image.shape[1:])
        image = centred(image, (height, width))
        rows, leaks = [], False
        for seed in self.seeds:
            row = [as_rgb(channels_last(image), self.shown)]
            for ratio in self.mask_ratios:
                found = Reconstruct(mask_ratio=ratio, seed=seed).run(self.model, image[None], torch.tensor([0]))
                row += [as_rgb(found.masked[0], self.shown), as_rgb(found.pasted[0], self.shown)]
                leaks = found.leaks
            rows.append(row)
        note = f"Shorter side resized to the model's, centre of {height}x{width} pixels."
        if leaks:
            note += " Patch mean and contrast from the original: the model predicts patches normalised by their own."
        columns = ["image"]
        for ratio in self.mask_ratios:
            columns += [f"{100 * ratio:.0f} % hidden", "prediction"]
        names = [f"seed {seed}" for seed in self.seeds] if len(self.seeds) > 1 else []
        drawn = sheet(rows, columns=columns, row_names=names, title=name, footnote=note, cell=PANEL)
        [file] = self.files(name)
        _write(self.owned, file, lambda temporary: Image.fromarray(drawn).save(temporary, format="PNG"))
        return file


def centred(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) -> (C, *size): the shorter side fills the size (bicubic, antialiased), then the centre."""
    from torchvision.transforms.v2 import functional

    height, width = size
    factor = max(height / image.shape[1], width / image.shape[2])
    inner = max(round(image.shape[1] * factor), height), max(round(image.shape[2] * factor), width)
    return functional.center_crop(resize_bicubic(image, inner), [height, width])


def _listed(words: Sequence[str], notes: list[str], endings: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
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


def _named(files: Iterator[tuple[Path, Path]], limit: int | None) -> Iterator[tuple[Path, str]]:
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


def _write(owned: Owned, file: Path, draw: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(owned.claim(file)) as temporary, open(temporary, "wb") as stream:
        draw(stream)


def _autocast(options: Options) -> torch.autocast:
    kind = _device(options.device).type
    precision = options.precision if options.precision != "auto" else ("bf16" if kind == "cuda" else "fp32")
    return torch.autocast(kind, dtype=AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
