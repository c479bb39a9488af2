"""Class maps, overlays and probabilities of a segmentation model."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mae_hydra.configuration.construct import build
from mae_hydra.data import distinct_colours
from mae_hydra.errors import UserError
from mae_hydra.evaluation.pictures import as_rgb, channels_last
from mae_hydra.figures import fit, legend_of, overlay, sheet
from mae_hydra.names import names_or_numbers
from mae_hydra.owned import Owned
from mae_hydra.recorded.configuration import recorded
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows.predict_labels import LabelFiles
from mae_hydra.workflows.predict_options import COMMAND, MOST_LIKELY, Options, refuse_options, write_file

OPACITY = 0.6
CELL = 640  # pixels of an overlay's longer side; the class map has the picture's own size


class Segmentations:
    """labels/<name>.png (indexed by class) with labels/classes.json, overlays/<name>.png, and where asked for
    probabilities/<name>.npz.

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

    def files(self, name: str) -> list[Path]:
        files = [self.options.out / "labels" / f"{name}.png", self.options.out / "overlays" / f"{name}.png"]
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
        file = self.files(name)[2]
        write_file(self.owned, file, lambda stream: np.savez_compressed(stream, classes=kept, probabilities=shares))
        return [*self._write_pictures(image, name, classes), file]

    def _write_pictures(self, image: Tensor, name: str, classes: np.ndarray) -> list[Path]:
        files = self.files(name)[:2]
        write_file(self.owned, files[0], lambda file: self.labels.picture(classes).save(file, format="PNG"))
        rgb = as_rgb(channels_last(image))
        shown, large = fit(rgb, CELL), fit(classes, CELL, "nearest")
        drawn = sheet(
            [[shown, overlay(shown, large, self.palette, opacity=OPACITY, boundaries=True)]],
            columns=["image", "prediction"],
            title=name,
            legend=legend_of([classes], self.class_names, self.palette),
            cell=CELL,
        )
        write_file(self.owned, files[1], lambda file: Image.fromarray(drawn).save(file, format="PNG"))
        return files

    def _probabilities(self, image: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Class map, and the most likely classes uint8 (k, H, W) with their probabilities float16 (k, H, W)."""
        scores = self.inference.scores(self.model, image)
        shares = scores if self.inference.gives_probabilities else scores.softmax(0)
        best = shares.topk(min(MOST_LIKELY, len(shares)), dim=0)
        kept = best.indices.to(torch.uint8).cpu().numpy()
        return scores.argmax(0).to(torch.uint8).cpu().numpy(), kept, best.values.half().cpu().numpy()
