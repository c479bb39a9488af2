"""What an encoder's patch features are worth as they are: nearest neighbours and a linear classifier of class maps."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_hydra.data import EvalCrop, ImageData
from mae_hydra.distributed import all_reduce_sum, broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.evaluation.bank_probe import BankProbe, check_probe
from mae_hydra.evaluation.features import with_normalization
from mae_hydra.evaluation.kinds import check_labels
from mae_hydra.evaluation.linear_classifier import LinearClassifier, fit_linear
from mae_hydra.evaluation.metrics import count_confusions, segmentation_scores
from mae_hydra.evaluation.neighbours import nearest, weighted
from mae_hydra.evaluation.patch_features import PatchBank, patch_bank, patch_maps
from mae_hydra.evaluation.pictures import channels_last, segmentation_sheet
from mae_hydra.evaluation.rank import effective_rank
from mae_hydra.types import Evaluation, Picture

WAYS = {"knn": "nearest neighbors", "linear": "linear"}


@dataclasses.dataclass(frozen=True)
class Probes:
    """Labelled patches, and what was learned from them, to be asked about others'."""

    bank: PatchBank
    linear: LinearClassifier | None
    k: int
    temperature: float

    @property
    def ways(self) -> list[str]:
        return ["knn"] if self.linear is None else ["knn", "linear"]

    def class_maps(self, maps: Tensor, size: tuple[int, int]) -> Iterator[dict[str, Tensor]]:
        """Class maps int64 (H, W) of that size by way, for each image of maps (B, D, h, w)."""
        grid = (maps.shape[2], maps.shape[3])
        vectors = maps.flatten(2).transpose(1, 2)  # (B, P, D)
        with torch.autocast(maps.device.type, enabled=False):
            similar, places = nearest(vectors.flatten(0, 1), self.bank.vectors, self.k)
            similar, places = (rows.unflatten(0, vectors.shape[:2]) for rows in (similar, places))
            for own, near, which in zip(vectors, similar, places, strict=True):
                scores = {"knn": weighted(near, self.bank.shares[which], self.temperature)}
                if self.linear is not None:
                    scores["linear"] = self.linear.logits(own)
                yield {
                    way: F.interpolate(logits.T.unflatten(1, grid)[None], size, mode="bilinear")[0].argmax(0)
                    for way, logits in scores.items()
                }


class DenseProbe(BankProbe):
    """Scalars `knn_mIoU` and `linear_mIoU`, in percent on validation images, from features of labelled patches.

    For any model with an encoder, also while it trains: nothing is hidden from the encoder, nothing is learned by it,
    and no state is kept. Every image is resized and cropped to the training size, so the numbers compare with each
    other and not with MeanIoU's. `bank`: so many training images, evenly spread, a share of them below 1, or all
    (None), and at most `patches` patches of each. A patch stands for all pixels that it covers: neighbours hand on the
    shares of their classes (Balazevic et al., arXiv 2306.01667), the linear classifier learns them, which is the
    cross-entropy of the pixels; both are enlarged bilinearly. `k`, `temperature`: see `votes`. `l2`, `iterations`: see
    `fit_linear`; `l2` None leaves the linear classifier out. `rankme` is the effective rank of the bank's features.
    Gives the table `dense_probe` and the picture of that name.
    """

    reads_maps = True  # of data whose training may need no labels: they are looked at before it begins

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
        patches: int,
        k: int,
        temperature: float,
        l2: float | None,
        iterations: int,
    ) -> None:
        if data.target != "map":
            raise UserError(
                "a dense probe needs class maps, and this data set has none; use data=scenes or data=segmentation, or "
                "evaluation=pretrain_probe where every image has a class"
            )
        if patches < 1:
            raise ValueError(f"patches must be at least 1, got {patches}")
        check_probe(temperature, l2, iterations)
        super().__init__(
            data,
            EvalCrop(size=data.image_size, crop_ratio=1.0),
            every=every,
            batch_size=batch_size,
            num_workers=num_workers,
            num_pictures=num_pictures,
            limit=limit,
            bank=bank,
        )
        self.patches, self.k, self.temperature = patches, k, temperature
        self.l2, self.iterations = l2, iterations

    @torch.no_grad()
    def run(self, model: Any, step: int) -> Evaluation:
        model = with_normalization(model, self.data)
        bank = patch_bank(model, self.bank, self.patches, self.data.num_classes, self.data.ignore_index)
        if not 1 <= self.k <= len(bank.vectors):
            raise UserError(
                f"k must lie in 1..{len(bank.vectors)}, the number of labeled patches in the bank, got {self.k}; "
                "look for more of them with bank and patches"
            )
        probes = Probes(bank, self._linear(bank), self.k, self.temperature)
        scalars, table = self._scores(model, probes)
        scalars = broadcast_object(scalars | {"rankme": effective_rank(bank.vectors)})  # others may round otherwise
        scored = ", ".join(f"{WAYS[way]} {scalars[f'{way}_mIoU']:.1f} %" for way in probes.ways)
        title = f"step {step}: mIoU by {scored}"
        return Evaluation(scalars, self._pictures(model, probes, title) if is_main() else {}, {"dense_probe": table})

    def _linear(self, bank: PatchBank) -> LinearClassifier | None:
        """That of one process: the others' kernels may round otherwise."""
        if self.l2 is None:
            return None
        targets = bank.pixels * (len(bank.pixels) / bank.pixels.sum())  # so their mean is one over pixels
        fit = fit_linear(bank.vectors, targets, self.data.num_classes, l2=self.l2, iterations=self.iterations)
        return LinearClassifier(*(part.to(bank.vectors.device) for part in broadcast_object([p.cpu() for p in fit])))

    def _scores(self, model: Any, probes: Probes) -> tuple[dict[str, float], list[dict[str, Any]]]:
        classes, device = self.data.num_classes, model.mean.device
        counts = {way: torch.zeros(classes, classes, dtype=torch.int64, device=device) for way in probes.ways}
        for samples in self.held_out.batches():
            maps = patch_maps(model, torch.stack([sample.image for _, sample in samples]).to(device))
            for _, sample in samples:
                check_labels(sample, classes, self.data.ignore_index)
            labels = [torch.as_tensor(sample.label).to(device) for _, sample in samples]
            for truth, predictions in zip(labels, probes.class_maps(maps, self.data.image_size), strict=True):
                for way, prediction in predictions.items():
                    counts[way] += count_confusions(prediction, truth, classes, self.data.ignore_index)
        scores = {way: segmentation_scores(all_reduce_sum(matrix)) for way, matrix in counts.items()}
        table: list[dict[str, Any]] = [{"name": name} for name in self.data.class_names]
        for way, score in scores.items():
            for row, value in zip(table, score.iou.tolist(), strict=True):
                row[f"{way} IoU"] = None if value != value else value
        return {f"{way}_mIoU": score.mean_iou for way, score in scores.items()}, table

    def _pictures(self, model: Any, probes: Probes, title: str) -> dict[str, Picture]:
        samples = [sample for _, sample in self.held_out.pictures()]
        if not samples:
            return {}
        maps = patch_maps(model, torch.stack([sample.image for sample in samples]).to(model.mean.device))
        predictions = list(probes.class_maps(maps, self.data.image_size))
        truth = [torch.as_tensor(sample.label).numpy() for sample in samples]
        columns = {"ground truth": truth}
        columns |= {
            WAYS[way]: [by_way[way].cpu().numpy().astype(truth[0].dtype) for by_way in predictions]
            for way in probes.ways
        }
        images = [channels_last(sample.image) for sample in samples]
        return {"dense_probe": Picture(segmentation_sheet(images, columns, self.data, title), title)}
