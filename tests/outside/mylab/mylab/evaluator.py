"""An evaluator: a score of one's own beside the usual ones."""

import torch
from torch import nn

from mae_hydra.data import ImageData
from mae_hydra.distributed import all_reduce_sum
from mae_hydra.evaluation import Clock, HeldOut
from mae_hydra.inference import SegmentationInference
from mae_hydra.types import Evaluation


class ShapesFound:
    """In how many percent of the images each class is found where it is, by at least half of its pixels."""

    judges = "pixels"  # the models that it is for: those that give each pixel a class

    def __init__(
        self,
        *,
        data: ImageData,
        inference: SegmentationInference,
        every: int | float | None,
        batch_size: int,
        num_workers: int,
        limit: int | None,
    ) -> None:
        """`data` and `inference` come from the run, the rest from the configuration."""
        self.data, self.inference, self.clock = data, inference, Clock(every)
        self.held_out = HeldOut(data, None, batch_size=batch_size, num_workers=num_workers, num_pictures=0, limit=limit)

    def check(self, model: nn.Module) -> None:
        """A UserError, before training, where `run` could not evaluate this model."""
        self.inference.check(model, self.held_out.example_size())

    def due(self, step: int, total_steps: int) -> bool:
        return self.clock.due(step, total_steps)

    def stamps(self) -> list[str]:
        """What changes with the files that it looks at: after that `mae-hydra evaluate` begins anew."""
        return self.held_out.stamps()

    @torch.no_grad()
    def run(self, model: nn.Module, step: int) -> Evaluation:
        """Each process looks at its share of the images; the sums are those of all."""
        found = torch.zeros(2, self.data.num_classes)
        for samples in self.held_out.batches():
            predictions = self.inference.predict(model, [sample.image for _, sample in samples])
            for (_, sample), prediction in zip(samples, predictions, strict=True):
                for number in range(self.data.num_classes):
                    there = torch.as_tensor(sample.label) == number
                    right = (prediction.cpu() == number) & there
                    found[:, number] += torch.tensor([2 * right.sum() >= there.sum(), 1.0]) * there.any()
        hits, images = all_reduce_sum(found.to(next(model.parameters()).device)).cpu()
        share = 100 * hits / images.clamp(min=1)
        rows = [
            {"name": name, "found": float(part), "images": int(count)}
            for name, part, count in zip(self.data.class_names, share, images, strict=True)
        ]
        return Evaluation({"found": float(share[images > 0].mean())}, tables={"shapes": rows})
