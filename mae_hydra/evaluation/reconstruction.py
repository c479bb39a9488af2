"""How well a masked autoencoder reconstructs images it was not trained on."""

from typing import Any

import torch

from mae_hydra.data import EvalCrop, ImageData
from mae_hydra.distributed import all_reduce_sum, is_main
from mae_hydra.errors import UserError
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.interval import Clock
from mae_hydra.evaluation.kinds import expect
from mae_hydra.evaluation.pictures import cells, reconstruction_rows, reconstruction_sheet
from mae_hydra.inference import Reconstruct
from mae_hydra.models import MAE
from mae_hydra.types import Answer, Batch, Evaluation, Picture


class ReconstructionError:
    """The training loss on validation images, of which the largest centred crop is resized to the training size.

    Which patches are hidden depends on the image's index only, so the number compares between steps and runs.
    Gives the scalar `loss` and the picture `reconstructions`.
    """

    judges: Answer = "reconstruction"

    def __init__(
        self,
        *,
        data: ImageData,
        inference: Reconstruct,
        every: int | float | None,
        batch_size: int,
        num_workers: int,
        num_pictures: int,
        limit: int | None,
    ) -> None:
        if not isinstance(inference, Reconstruct):
            raise UserError(
                f"a masked autoencoder is evaluated by inference=reconstruct, got {type(inference).__name__}"
            )
        self.inference, self.data = inference, data
        self.clock = Clock(every)
        self.held_out = HeldOut(
            data,
            EvalCrop(size=data.image_size, crop_ratio=1.0),
            batch_size=batch_size,
            num_workers=num_workers,
            num_pictures=num_pictures,
            limit=limit,
        )

    def check(self, model: Any) -> None:
        """Raise a UserError where the images do not fit this model, or none of its patches would be left to see."""
        expect(model, self.judges, "reconstruction")
        self.inference.check(model, self.held_out.example_size())

    def stamps(self) -> list[str]:
        """What changes with the files that it looks at."""
        return self.held_out.stamps()

    def due(self, step: int, total_steps: int) -> bool:
        return self.clock.due(step, total_steps)

    @torch.no_grad()
    def run(self, model: MAE, step: int) -> Evaluation:
        device = model.mean.device
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for samples in self.held_out.batches():
            index = torch.tensor([index for index, _ in samples])
            images = torch.stack([sample.image for _, sample in samples]).to(device, non_blocking=True)
            loss = model.loss(Batch(images, index=index), keep=self.inference.keep(model, index))
            sums += torch.stack([loss.total, loss.count]).double()
        total, count = all_reduce_sum(sums).tolist()
        return Evaluation({"loss": total / count}, self._pictures(model, step) if is_main() else {})

    def _pictures(self, model: MAE, step: int) -> dict[str, Picture]:
        shown = self.held_out.pictures()
        if not shown:
            return {}
        images = torch.stack([sample.image for _, sample in shown])
        reconstruction = self.inference.run(model, images, torch.tensor([index for index, _ in shown]))
        title = f"Reconstructions of validation images, step {step}"
        strip = [[row[0], row[-1]] for row in reconstruction_rows(reconstruction, self.data.shown)]
        return {
            "reconstructions": Picture(reconstruction_sheet(reconstruction, title, self.data.shown), title),
            "cells": cells(strip, "original, prediction + visible"),
        }
