"""Mean intersection over union on the validation set."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from mae_hydra.data import ImageData, Sample
from mae_hydra.distributed import all_reduce_sum, is_main
from mae_hydra.errors import UserError
from mae_hydra.evaluation.boundary import count_boundaries
from mae_hydra.evaluation.extra_metrics import ExtraMetrics
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.interval import Clock
from mae_hydra.evaluation.kinds import check_labels, expect, expect_classes
from mae_hydra.evaluation.metrics import (
    boundary_scores,
    count_confusions,
    mean_of_defined,
    segmentation_scores,
)
from mae_hydra.evaluation.pictures import as_rgb, cells, channels_last, segmentation_rows, segmentation_sheet, shares_of
from mae_hydra.inference import SegmentationInference
from mae_hydra.types import Answer, Evaluation, Picture


class Counts(NamedTuple):
    """`confusions`: int64 (C, C), row = label, column = prediction. `boundaries`: as `count_boundaries` gives them."""

    confusions: torch.Tensor
    boundaries: torch.Tensor | None


class MeanIoU:
    """mIoU, mAcc, aAcc, mDice and mPrecision in percent, from one confusion matrix over all images at their own size.

    `boundary`: mBIoU too, the mean IoU of what lies near the edges of the classes (`mae_hydra.evaluation.boundary`).
    `metrics`: objects of torchmetrics by name, which see the classes predicted and labelled (N,) of labelled pixels.
    Gives the table `per_class` (None where a score is undefined), the picture `segmentation`, and one picture per
    image, `segmentation_<number>`, with its class maps `prediction` and `labels` for trackers that draw overlays
    themselves.
    """

    judges: Answer = "pixels"

    def __init__(
        self,
        *,
        data: ImageData,
        inference: SegmentationInference,
        every: int | float | None,
        batch_size: int,
        num_workers: int,
        num_pictures: int,
        limit: int | None,
        boundary: bool,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        if data.target != "map":
            raise UserError("mean IoU needs class maps, and this data set has none; use data=scenes or data=ade20k")
        if not hasattr(inference, "predict"):
            raise UserError(
                "mean IoU needs inference=whole, slide or multiscale_flip, got reconstruct, which is for masked "
                "autoencoders: they predict no classes"
            )
        self.data, self.inference, self.boundary, self.extra = data, inference, boundary, ExtraMetrics(metrics)
        self.counts_confusions = not self.extra  # theirs do not follow from the confusions of single images
        self.clock = Clock(every)
        self.held_out = HeldOut(
            data, None, batch_size=batch_size, num_workers=num_workers, num_pictures=num_pictures, limit=limit
        )

    def check(self, model: Any) -> None:
        """Raise a UserError where the model knows other classes, or the inference cannot show it the first image."""
        expect(model, self.judges, "mean IoU")
        if hasattr(model, "num_classes"):
            expect_classes(model, self.data)
        self.inference.check(model, self.held_out.example_size())
        self.extra.check(self.data.num_classes, scored=False)

    def stamps(self) -> list[str]:
        """What changes with the files that it looks at."""
        return self.held_out.stamps()

    def due(self, step: int, total_steps: int) -> bool:
        return self.clock.due(step, total_steps)

    @torch.no_grad()
    def run(self, model: Any, step: int) -> Evaluation:
        counts = self.counts(model)
        scalars, table = score(counts, self.data.class_names)
        scalars |= self.extra.compute()
        title = f"step {step}: mIoU {scalars['mIoU']:.1f} %"
        pictures = self._pictures(model, counts, title) if is_main() else {}
        return Evaluation(scalars, pictures, {"per_class": table})

    def counts(self, model: Any) -> "Counts":
        """What the scores follow from, over all processes: the same however many there are."""
        num_classes = self.data.num_classes
        device = next(model.parameters()).device
        matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        boundaries = torch.zeros(3, num_classes, dtype=torch.int64, device=device) if self.boundary else None
        self.extra.reset(device)
        for samples in self.held_out.batches():
            predictions = self.inference.predict(model, [sample.image for _, sample in samples])
            for (_, sample), prediction in zip(samples, predictions, strict=True):
                counts = self.count(prediction, sample)
                if self.extra and isinstance(sample.label, torch.Tensor):
                    labels = sample.label.to(prediction.device)
                    counted = labels != self.data.ignore_index
                    self.extra.update(prediction[counted].long(), labels[counted].long())
                matrix += counts.confusions
                if boundaries is not None and counts.boundaries is not None:
                    boundaries += counts.boundaries
        return Counts(all_reduce_sum(matrix), None if boundaries is None else all_reduce_sum(boundaries))

    def count(self, prediction: torch.Tensor, sample: Sample) -> "Counts":
        """What one image adds; UserError, naming it, where its labels do not fit the picture or the classes."""
        num_classes, ignore_index = self.data.num_classes, self.data.ignore_index
        assert isinstance(sample.label, torch.Tensor)
        labels = sample.label
        if labels.shape != prediction.shape:
            raise UserError(
                f"{sample.name}: the picture has {'x'.join(map(str, prediction.shape))} pixels, "
                f"its label map {'x'.join(map(str, labels.shape))}"
            )
        check_labels(sample, num_classes, ignore_index)
        labels = labels.to(prediction.device)
        try:
            confusions = count_confusions(prediction, labels, num_classes, ignore_index)
        except ValueError as error:
            raise UserError(f"{sample.name}: {error}") from error
        boundaries = count_boundaries(prediction, labels, num_classes, ignore_index) if self.boundary else None
        return Counts(confusions, boundaries)

    def _pictures(self, model: Any, counts: "Counts", title: str) -> dict[str, Picture]:
        samples = [sample for _, sample in self.held_out.pictures()]
        if not samples:
            return {}
        images = [channels_last(sample.image) for sample in samples]
        labels = [torch.as_tensor(sample.label).numpy() for sample in samples]
        predictions = [
            found.cpu().numpy() for found in self.inference.predict(model, [sample.image for sample in samples])
        ]
        shown, confused = f"Validation images, {title}", f"Confusions, {title}"
        from mae_hydra.figures import confusion_matrix, to_pixels  # they bring matplotlib, a second of waiting

        matrix = confusion_matrix(counts.confusions.cpu().numpy(), self.data.class_names, title=confused)
        columns = {"ground truth": labels, "prediction": predictions}
        pictures = {
            "segmentation": Picture(segmentation_sheet(images, columns, self.data, shown), shown),
            "confusions": Picture(to_pixels(matrix), confused),
        }
        pictures["confusion_shares"] = Picture(shares_of(counts.confusions), confused, for_report=True)
        pictures["cells"] = cells(
            segmentation_rows(images, labels, predictions, data=self.data), "image, truth, prediction"
        )
        for number, sample in enumerate(samples):
            maps = {"prediction": predictions[number], "labels": labels[number]}
            pictures[f"segmentation_{number}"] = Picture(
                as_rgb(images[number], self.data.shown), sample.name, maps, self.data.class_names
            )
        return pictures


def score(counts: Counts, class_names: Sequence[str]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Scalars in percent, and the table of the classes (None where a score is undefined).

    Dice and F-score are one number, and so are recall and Acc: each stands under the name by which it is looked for.
    """
    scores = segmentation_scores(counts.confusions)
    scalars = {
        "mIoU": scores.mean_iou,
        "mAcc": scores.mean_accuracy,
        "aAcc": scores.pixel_accuracy,
        "mDice": scores.mean_dice,
        "mPrecision": scores.mean_precision,
    }
    columns = {
        "IoU": scores.iou,
        "Acc": scores.accuracy,
        "Dice": scores.dice,
        "Fscore": scores.dice,
        "Precision": scores.precision,
        "Recall": scores.accuracy,
    }
    table: list[dict[str, Any]] = [
        {"name": name}
        | {column: _defined(float(values[number])) for column, values in columns.items()}
        | {"pixels": int(scores.pixels[number])}
        for number, name in enumerate(class_names)
    ]
    if counts.boundaries is not None:
        boundary = boundary_scores(counts.boundaries)
        scalars["mBIoU"] = mean_of_defined(boundary)
        for row, value in zip(table, boundary.tolist(), strict=True):
            row["BIoU"] = _defined(value)
    return scalars, table


def _defined(value: float) -> float | None:
    return None if value != value else value
