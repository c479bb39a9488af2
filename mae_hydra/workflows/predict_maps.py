"""Class maps, overlays and probabilities of a segmentation model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from mae_hydra import atomic
from mae_hydra.configuration.construct import build
from mae_hydra.data import distinct_colours
from mae_hydra.data.decoding.bands import Channels
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.errors import UserError
from mae_hydra.evaluation.pictures import as_rgb, channels_last
from mae_hydra.figures import fit, legend_of, overlay, sheet
from mae_hydra.names import names_or_numbers
from mae_hydra.owned import Owned
from mae_hydra.recorded.configuration import recorded
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows import rasters
from mae_hydra.workflows.predict_labels import LabelFiles
from mae_hydra.workflows.predict_options import COMMAND, MOST_LIKELY, Options, refuse_options, shown_of, write_file

OPACITY = 0.6
CELL = 640  # pixels of an overlay's longer side; the class map has the picture's own size


class Segmentations:
    """labels/<name>.png (indexed by class) with labels/classes.json, overlays/<name>.png, and where asked for
    probabilities/<name>.npz. Of a raster that lies somewhere on the earth also labels/<name>.tif, which lies there too;
    of a large one that alone.

    `notes`: what a person should know, in what way pictures are looked at otherwise than in training among it.
    """

    def __init__(self, model: Any, checkpoint: Checkpoint, path: str | Path, options: Options) -> None:
        refuse_options(options, path, "a segmentation model", ("mask_ratios", "seeds"))
        self.model, self.options, self.owned = model, options, Owned(options.out, COMMAND)
        found = recorded(checkpoint, [f"inference={options.inference or 'slide'}"], ("inference",))
        self.notes = [*found.notes, *(f"{key} is {change}" for key, change in found.changes().items())]
        self.inference: Any = build(found.config.inference, "inference", origin=found.origin("inference"))
        if not hasattr(self.inference, "predict"):
            raise UserError("a UPerNet takes --inference slide, whole or multiscale_flip, got reconstruct")
        count, meta = model.num_classes, checkpoint.meta
        self.class_names, palette = names_or_numbers(meta.get("class_names"), count), meta.get("palette")
        fits = isinstance(palette, list) and len(palette) == count
        self.palette = np.array(palette, dtype=np.uint8) if fits else distinct_colours(count)
        self.labels = LabelFiles(checkpoint, self.class_names, self.palette, as_stored=options.as_stored)
        if not options.overwrite:
            self.labels.check(options.out / "labels")
        self.shown = shown_of(checkpoint)
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
            if self.options.probabilities or self.options.inference == "whole":
                raise UserError(
                    f"{next(iter(self._large.values()))} has more than {rasters.LARGE} pixels and is looked at window "
                    "by window; leave out --probabilities and --inference whole"
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
        write_file(self.owned, file, lambda stream: np.savez_compressed(stream, classes=kept, probabilities=shares))
        return [*self._write_pictures(image, name, classes), file]

    def _write_pictures(self, image: Tensor, name: str, classes: np.ndarray) -> list[Path]:
        files = [file for file in self.files(name) if file.suffix != ".npz"]
        write_file(self.owned, files[0], lambda file: self.labels.picture(classes).save(file, format="PNG"))
        if name in self._placed:
            with rasters.opened(self._placed[name]) as raster:
                self._write_raster(raster, self._placed[name], files[1], iter([(None, classes)]))
        self._write_overlay(files[-1], as_rgb(channels_last(image), self.shown), classes, name)
        return files

    def _write_raster(self, raster: Any, of: Path, file: Path, maps: Iterator[tuple[Any, np.ndarray]]) -> None:
        """Class maps of windows, as the numbers that are written; where the raster has no data, so does its map."""
        most = int(self.labels.stored.max())

        def stored() -> Iterator[tuple[Any, np.ndarray]]:
            for window, classes in maps:
                values = self.labels.stored[classes]
                if rasters.may_lack_data(raster):
                    values = np.where(rasters.has_data(raster, window, of), values, rasters.nowhere(most))
                yield window, values

        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic.writing(self.owned.claim(file)) as temporary:
            rasters.write(temporary, rasters.profile_of(raster, most), stored(), self.labels.colours[: most + 1])

    def write_large(self, file: Path, name: str, wanted: Channels, pixel_range: PixelRange | None) -> list[Path]:
        """The class map of a raster that is not read whole, and a small picture of it."""
        self.labels.write_table(self.options.out / "labels", self.owned)
        files = self.files(name)
        inference = self._at_its_own_size()
        with rasters.opened(file) as raster:
            pixels = rasters.RasterPixels(raster, wanted, pixel_range, file)
            self._write_raster(raster, file, files[0], rasters.maps_of(inference, self.model, pixels))
            small = pixels.reduced(CELL)
        with rasters.opened(files[0]) as written:
            stored = rasters.reduced(written, [1], CELL)[0]
        number_of = np.full(2**16, len(self.class_names), np.uint16)
        number_of[self.labels.stored] = np.arange(len(self.labels.stored))
        self._write_overlay(files[-1], as_rgb(channels_last(small), self.shown), number_of[stored], name)
        return files

    def _at_its_own_size(self) -> Any:
        """Windows over pixels as they are."""
        words = [f"inference={self.options.inference or 'slide'}", "inference.short=null"]
        found = recorded(self._checkpoint, words, ("inference",))
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
        write_file(self.owned, file, lambda stream: Image.fromarray(drawn).save(stream, format="PNG"))

    def _probabilities(self, image: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class map, and the most likely classes uint8 (k, H, W) with their probabilities float16 (k, H, W)."""
        size, count = image.shape[1:], self.model.num_classes
        kind, most = (np.uint8 if count <= 256 else np.uint16), min(MOST_LIKELY, count)
        classes, kept = np.empty(size, kind), np.empty((most, *size), kind)
        probabilities = np.empty((most, *size), np.float16)
        for _, top, left, scores in self.inference.pieces(self.model, [image]):
            place = (slice(top, top + scores.shape[1]), slice(left, left + scores.shape[2]))
            shares = scores if self.inference.gives_probabilities else scores.softmax(0)
            best = shares.topk(most, dim=0)
            classes[place] = scores.argmax(0).cpu().numpy()
            kept[:, *place] = best.indices.cpu().numpy()
            probabilities[:, *place] = best.values.half().cpu().numpy()
        return classes, kept, probabilities
