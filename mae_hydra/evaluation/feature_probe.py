"""What an encoder's features are worth as they are: nearest neighbours and a linear classifier on frozen features."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mae_hydra.data import EvalCrop, ImageData, Sample
from mae_hydra.data.dataset import limited
from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.evaluation.clock import Clock
from mae_hydra.evaluation.features import Features, Normalised, extract
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.linear_classifier import fit_linear
from mae_hydra.evaluation.neighbours import nearest, votes
from mae_hydra.evaluation.pictures import as_rgb, channels_last
from mae_hydra.figures import sheet
from mae_hydra.models.pooling import check_pool
from mae_hydra.types import Evaluation, Picture, image_size_of

SHOWN = 5  # neighbours of a picture


class FeatureProbe:
    """Scalars `knn` and `linear`: top-1 in percent on validation images, from features of labelled training images.

    For any model with an encoder, or an encoder by itself, also while it trains: nothing is hidden from it, nothing is
    learned by it, and no state is kept. `bank`: so many training images, evenly spread, a share of them below 1, or all
    (None): 0.01 and 0.1 are the few-shot probes. `pool`: see `mae_hydra.models.pooling`. `k`, `temperature`: see
    `votes`. `l2`, `iterations`: see `fit_linear`; `l2` None leaves the linear classifier out. Gives the picture
    `neighbours`.
    """

    def __init__(
        self,
        *,
        data: ImageData,
        inference: Any,
        every: int | float | None,
        batch_size: int,
        num_workers: int,
        num_pictures: int,
        limit: int | None,
        bank: int | float | None,
        pool: str,
        k: int,
        temperature: float,
        l2: float | None,
        iterations: int,
    ) -> None:
        if data.target != "class":
            raise UserError(
                "nearest neighbours and probes need a class for every image, and this data set has none; use "
                "data=imagenet or data=scene_classes"
            )
        check_pool(pool)
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if l2 is not None and l2 < 0:
            raise ValueError(f"l2 must not be negative, or null for no linear classifier, got {l2}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.data, self.pool, self.k, self.temperature = data, pool, k, temperature
        self.l2, self.iterations = l2, iterations
        self.clock = Clock(every)
        transform = EvalCrop(size=data.image_size, crop_ratio=None)
        labelled = data.train if bank is None else limited(data.train, min(bank, len(data.train)))
        if not 1 <= k <= len(labelled):
            raise ValueError(f"k must lie in 1..{len(labelled)}, the number of images in the bank, got {k}")
        self.bank = HeldOut(
            dataclasses.replace(data, validation=labelled),
            transform,
            batch_size=batch_size,
            num_workers=num_workers,
            num_pictures=0,
            limit=None,
        )
        self._bank_images, self._transform = labelled, transform
        self.held_out = HeldOut(
            data,
            transform,
            batch_size=batch_size,
            num_workers=num_workers,
            num_pictures=num_pictures,
            limit=limit,
        )

    def check(self, model: Any) -> None:
        """Raise a UserError where the model takes images of another size."""
        wanted = image_size_of(model)
        if wanted is not None and wanted != tuple(self.data.image_size):
            size, own = ("x".join(map(str, each)) for each in (self.data.image_size, wanted))
            raise UserError(f"the model takes images of {own}, data.image_size is {size}")

    def stamps(self) -> list[str]:
        """What changes with the files that it looks at."""
        return [*self.bank.stamps(), *self.held_out.stamps()]

    def due(self, step: int, total_steps: int) -> bool:
        return self.clock.due(step, total_steps)

    @torch.no_grad()
    def run(self, model: Any, step: int) -> Evaluation:
        if not hasattr(model, "encoder"):
            model = Normalised(model, self.data.mean, self.data.std)
        bank, queries = extract(model, self.bank, self.pool), extract(model, self.held_out, self.pool)
        with torch.autocast(bank.vectors.device.type, enabled=False):
            scalars, places = self._scores(bank, queries)
        scalars = broadcast_object(scalars)  # of one process: the others' kernels may round otherwise
        title = f"step {step}: nearest neighbours {scalars['knn']:.1f} %"
        return Evaluation(scalars, self._pictures(queries, places, title) if is_main() else {})

    def _scores(self, bank: Features, queries: Features) -> tuple[dict[str, float], Tensor]:
        similar, places = nearest(queries.vectors, bank.vectors, self.k)
        counted = votes(similar, bank.labels[places], self.data.num_classes, self.temperature)
        scalars = {"knn": _accuracy(counted, queries.labels)}
        if self.l2 is not None:
            found = fit_linear(bank.vectors, bank.labels, self.data.num_classes, l2=self.l2, iterations=self.iterations)
            scalars["linear"] = _accuracy(found.logits(queries.vectors), queries.labels)
        return scalars, places

    def _pictures(self, queries: Features, places: Tensor, title: str) -> Mapping[str, Picture]:
        rows = []
        row_of = {index: row for row, index in enumerate(queries.indices)}
        for index, sample in self.held_out.pictures():
            closest = places[row_of[index], :SHOWN].tolist()
            neighbours = [self._transform(self._bank_images[place]) for place in closest]
            rows.append([_pixels(each) for each in (sample, *neighbours)])
        if not rows:
            return {}
        columns = ["validation image", *(f"neighbour {number + 1}" for number in range(len(rows[0]) - 1))]
        pixels = sheet(rows, columns=columns, title=title)
        return {"neighbours": Picture(pixels, title)}


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    """Percent of rows whose largest score is the label's."""
    return 100 * float((scores.argmax(1) == labels).double().mean())


def _pixels(sample: Sample) -> Any:
    return as_rgb(channels_last(sample.image))
