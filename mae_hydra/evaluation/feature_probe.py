"""What an encoder's features are worth as they are: nearest neighbours and a linear classifier on frozen features."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mae_hydra.data import EvalCrop, ImageData
from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.evaluation.bank_probe import BankProbe, check_probe
from mae_hydra.evaluation.features import Features, extract, with_normalization
from mae_hydra.evaluation.linear_classifier import fit_linear
from mae_hydra.evaluation.neighbours import nearest, votes
from mae_hydra.evaluation.pictures import as_rgb, channels_last
from mae_hydra.evaluation.rank import effective_rank
from mae_hydra.figures import sheet
from mae_hydra.models.pooling import check_pool
from mae_hydra.types import Evaluation, Picture

SHOWN = 5  # neighbours of a picture


class FeatureProbe(BankProbe):
    """Scalars `knn` and `linear`: top-1 in percent on validation images, from features of labelled training images.

    For any model with an encoder, or an encoder alone, also while it trains: nothing is hidden from it or learned by
    it, and no state is kept. `bank`: so many training images, evenly spread, a share below 1, or all (None): 0.01
    and 0.1 are the few-shot probes. `pool`: see `mae_hydra.models.pooling`. `k`, `temperature`: see `votes`.
    `l2`, `iterations`: see `fit_linear`; None for `l2` leaves the linear classifier out, for `k` the neighbours, and
    for both no labels are needed. `rankme` is the effective rank of the bank's features.
    Gives the picture `neighbours`.
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
        k: int | None,
        temperature: float,
        l2: float | None,
        iterations: int,
    ) -> None:
        if data.target != "class" and not k is l2 is None:
            way_out = (
                "evaluation=pretrain_dense_probe is for class maps"
                if data.target == "map"
                else "use data=classification or data=scene_classes, or k=null and l2=null for the rank alone"
            )
            raise UserError(
                f"nearest neighbors and probes need a class for every image, and this data set has none; {way_out}"
            )
        check_pool(pool)
        check_probe(temperature, l2, iterations)
        super().__init__(
            data,
            EvalCrop(size=data.image_size, crop_ratio=None),
            every=every,
            batch_size=batch_size,
            num_workers=num_workers,
            num_pictures=num_pictures,
            limit=limit,
            bank=bank,
        )
        if k is not None and not 1 <= k <= len(self.bank_images):
            raise ValueError(f"k must lie in 1..{len(self.bank_images)}, the number of images in the bank, got {k}")
        self.pool, self.k, self.temperature = pool, k, temperature
        self.l2, self.iterations = l2, iterations

    @torch.no_grad()
    def run(self, model: Any, step: int) -> Evaluation:
        model = with_normalization(model, self.data)
        bank, queries = extract(model, self.bank, self.pool), extract(model, self.held_out, self.pool)
        scalars = {"rankme": effective_rank(bank.vectors)}
        pictures: Mapping[str, Picture] = {}
        with torch.autocast(bank.vectors.device.type, enabled=False):
            if self.k is not None:
                similar, places = nearest(queries.vectors, bank.vectors, self.k)
                counted = votes(similar, bank.labels[places], self.data.num_classes, self.temperature)
                scalars["knn"] = _accuracy(counted, queries.labels)
            if self.l2 is not None:
                fit = fit_linear(
                    bank.vectors, bank.labels, self.data.num_classes, l2=self.l2, iterations=self.iterations
                )
                scalars["linear"] = _accuracy(fit.logits(queries.vectors), queries.labels)
        if is_main() and self.k is not None:
            pictures = self._pictures(queries, places, f"step {step}: nearest neighbors {scalars['knn']:.1f} %")
        # Of one process: the others' kernels may round otherwise.
        return Evaluation(broadcast_object(scalars), pictures)

    def _pictures(self, queries: Features, places: Tensor, title: str) -> Mapping[str, Picture]:
        rows = []
        row_of = {index: row for row, index in enumerate(queries.indices)}
        for index, sample in self.held_out.pictures():
            closest = places[row_of[index], :SHOWN].tolist()
            neighbours = [self.transform(self.bank_images[place]) for place in closest]
            rows.append([as_rgb(channels_last(shown.image), self.data.shown) for shown in (sample, *neighbours)])
        if not rows:
            return {}
        columns = ["validation image", *(f"neighbor {number + 1}" for number in range(len(rows[0]) - 1))]
        pixels = sheet(rows, columns=columns, title=title)
        return {"neighbours": Picture(pixels, title)}


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    """Percent of rows whose largest score is the label's."""
    return 100 * float((scores.argmax(1) == labels).double().mean())
