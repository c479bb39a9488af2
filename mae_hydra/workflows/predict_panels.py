"""Panels of what a masked autoencoder makes of a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mae_hydra.data.augment.crops import resize_bicubic
from mae_hydra.evaluation.pictures import as_rgb, channels_last
from mae_hydra.figures import sheet
from mae_hydra.inference import Reconstruct
from mae_hydra.owned import Owned
from mae_hydra.types import image_size_of
from mae_hydra.weights import Checkpoint
from mae_hydra.workflows.predict_options import COMMAND, Options, refuse_options, shown_of, write_file

PANEL = 224
MASK_RATIOS = (0.5, 0.75, 0.9)


class Reconstructions:
    """panels/<name>.png: a row for every seed; the picture, then masked and predicted at every mask ratio."""

    notes: Sequence[str] = ()

    def __init__(self, model: Any, path: str | Path, options: Options, checkpoint: Checkpoint) -> None:
        refuse_options(options, path, "a masked autoencoder", ("inference", "probabilities", "as_stored"))
        self.model, self.options, self.owned = model, options, Owned(options.out, COMMAND)
        self.shown = shown_of(checkpoint)
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
        note = f"Shorter side resized to the model's, center of {height}x{width} pixels."
        if leaks:
            note += " Patch mean and contrast from the original: the model predicts patches normalized by their own."
        columns = ["image"]
        for ratio in self.mask_ratios:
            columns += [f"{100 * ratio:.0f} % masked", "prediction"]
        names = [f"seed {seed}" for seed in self.seeds] if len(self.seeds) > 1 else []
        drawn = sheet(rows, columns=columns, row_names=names, title=name, footnote=note, cell=PANEL)
        [file] = self.files(name)
        write_file(self.owned, file, lambda temporary: Image.fromarray(drawn).save(temporary, format="PNG"))
        return file


def centred(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) -> (C, *size): the shorter side fills the size (bicubic, antialiased), then the centre."""
    from torchvision.transforms.v2 import functional

    height, width = size
    factor = max(height / image.shape[1], width / image.shape[2])
    inner = max(round(image.shape[1] * factor), height), max(round(image.shape[2] * factor), width)
    return functional.center_crop(resize_bicubic(image, inner), [height, width])
