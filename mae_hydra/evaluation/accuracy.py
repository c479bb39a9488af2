"""Top-1 and top-5 accuracy on the validation set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_hydra.data import EvalCrop, ImageData
from mae_hydra.data.listing import file_stamp
from mae_hydra.distributed import all_reduce_sum, is_main
from mae_hydra.errors import UserError
from mae_hydra.evaluation.corruptions import Corruptions
from mae_hydra.evaluation.extra_metrics import ExtraMetrics
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.interval import Clock
from mae_hydra.evaluation.kinds import expect, expect_classes, expect_size
from mae_hydra.evaluation.metrics import count_confusions
from mae_hydra.evaluation.pictures import as_rgb, channels_last
from mae_hydra.figures.gallery import gallery
from mae_hydra.precision import check_numbers
from mae_hydra.types import Answer, Evaluation, Picture

TOP = 5
PICTURE_COLUMNS = 4


class Accuracy:
    """Scalars `top1`, `top5` (in percent) and `loss`; every image counts once, on however many processes.

    `crop_ratio`: see `EvalCrop`. Where the data hold a part of the classes only (ImageNet-A and -R), the prediction is
    the best of these. `baseline`: a file of error rates by corruption, for the mean corruption error of ImageNet-C.
    `metrics`: objects of torchmetrics by name, which see probabilities (B, C) and class ids (B,).
    Gives the table `per_class`, `per_group` for data in groups, and the picture `predictions`.
    """

    judges: Answer = "images"

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
        crop_ratio: float | None,
        baseline: str | None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        if data.target != "class":
            raise UserError(
                "accuracy needs a class for every image, and this data set has none; use "
                "data=classification or data=scene_classes"
            )
        self.data, self.baseline, self.extra = data, baseline, ExtraMetrics(metrics)
        self.corruptions = Corruptions(baseline) if data.grouped else None
        if baseline is not None and self.corruptions is None:
            raise ValueError("baseline is of data in groups of corruptions: data=imagenet_variant")
        self.clock = Clock(every)
        self.held_out = HeldOut(
            data,
            EvalCrop(size=data.image_size, crop_ratio=crop_ratio),
            batch_size=batch_size,
            num_workers=num_workers,
            num_pictures=num_pictures,
            limit=limit,
        )

    def check(self, model: Any) -> None:
        """Raise a UserError where the model knows other classes or takes images of another size."""
        expect(model, self.judges, "accuracy")
        expect_classes(model, self.data)
        expect_size(model, self.data)
        self.extra.check(self.data.num_classes, scored=True)

    def stamps(self) -> list[str]:
        """What changes with the files that it looks at."""
        baseline = [] if self.baseline is None else [file_stamp(Path(self.baseline).expanduser())]
        return [*self.held_out.stamps(), *baseline]

    def due(self, step: int, total_steps: int) -> bool:
        return self.clock.due(step, total_steps)

    @torch.no_grad()
    def run(self, model: Any, step: int) -> Evaluation:
        device = model.mean.device
        classes = self.data.num_classes
        confusions = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        sums = torch.zeros(2, dtype=torch.float64, device=device)  # of the loss, and right among the best five
        self.extra.reset(device)
        for samples in self.held_out.batches():
            labels = torch.tensor([sample.label for _, sample in samples], device=device)
            logits = self.logits(model, torch.stack([sample.image for _, sample in samples]).to(device))
            best = logits.topk(min(TOP, classes), dim=1).indices
            confusions += count_confusions(best[:, 0], labels, classes, ignore_index=-1)
            right = (best == labels[:, None]).any(1).sum()
            sums += torch.stack([F.cross_entropy(logits, labels, reduction="sum").double(), right.double()])
            self.extra.update(logits.softmax(1), labels)
            if self.corruptions is not None:
                self.corruptions.add([sample.name for _, sample in samples], (best[:, 0] == labels).tolist())
        all_reduce_sum(confusions)
        images = int(confusions.sum())
        loss, among_five = (all_reduce_sum(sums) / images).tolist()
        check_numbers(sums[0], "the model's logits")  # once: the loss is none where one of them is none
        scalars = {"top1": 100 * float(confusions.diag().sum()) / images, "top5": 100 * among_five, "loss": loss}
        scalars |= self.extra.compute()
        tables = {"per_class": _per_class(confusions, self.data.class_names)}
        if self.corruptions is not None:
            found, tables["per_group"] = self.corruptions.scores()
            scalars |= found
        title = f"step {step}: top-1 {scalars['top1']:.1f} %"
        return Evaluation(scalars, self._pictures(model, title) if is_main() else {}, tables)

    def logits(self, model: Any, images: Tensor) -> Tensor:
        """float32 (B, C); of a class that the data do not hold at all, minus infinity."""
        logits = model(images).float()
        if self.data.present_classes is not None:
            absent = torch.ones(self.data.num_classes, dtype=torch.bool)
            absent[list(self.data.present_classes)] = False
            logits = logits.masked_fill(absent.to(logits.device), -torch.inf)
        return logits

    def _pictures(self, model: Any, title: str) -> Mapping[str, Picture]:
        shown = [sample for _, sample in self.held_out.pictures()]
        if not shown:
            return {}
        images = torch.stack([sample.image for sample in shown])
        probabilities = self.logits(model, images.to(model.mean.device)).softmax(1).cpu()
        names = self.data.class_names
        captions = []
        for sample, row in zip(shown, probabilities, strict=True):
            assert isinstance(sample.label, int)
            best = int(row.argmax())
            word = "right" if best == sample.label else f"not {names[sample.label]}"
            captions.append(f"{names[best]} {100 * row[best]:.0f} % ({word})")
        pixels = gallery(
            [as_rgb(channels_last(image), self.data.shown) for image in images],
            captions,
            columns=PICTURE_COLUMNS,
            title=title,
        )
        return {"predictions": Picture(pixels, title)}


def _per_class(confusions: Tensor, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Accuracy of every class that occurs, in percent, and what it is taken for most often."""
    matrix = confusions.cpu()
    rows = []
    for number, name in enumerate(names):
        images, right = int(matrix[number].sum()), int(matrix[number, number])
        others = matrix[number].clone()
        others[number] = 0
        mistaken = names[int(others.argmax())] if others.any() else None
        accuracy = 100 * right / images if images else None
        rows.append({"name": name, "accuracy": accuracy, "images": images, "mistaken_for": mistaken})
    return rows
