"""What the probes of frozen features share: labelled training images to ask, and held-out ones to ask about."""

import dataclasses
from typing import Any

from mae_hydra.data import EvalCrop, ImageData
from mae_hydra.data.dataset import ImageSet, limited
from mae_hydra.evaluation.held_out import HeldOut
from mae_hydra.evaluation.interval import Clock
from mae_hydra.evaluation.kinds import expect_size


class BankProbe:
    """`bank`: so many training images, evenly spread, a share of them below 1, or all (None, or more than there are).

    `held_out`: at most `limit` validation images. Both are cropped by `transform`.
    """

    def __init__(
        self,
        data: ImageData,
        transform: EvalCrop,
        *,
        every: int | float | None,
        batch_size: int,
        num_workers: int,
        num_pictures: int,
        limit: int | None,
        bank: int | float | None,
    ) -> None:
        self.data, self.transform, self.clock = data, transform, Clock(every)
        self.bank_images: ImageSet = data.train if bank is None else limited(data.train, min(bank, len(data.train)))
        of_bank = dataclasses.replace(data, validation=self.bank_images)
        loading: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers}
        self.bank = HeldOut(of_bank, transform, **loading, num_pictures=0, limit=None)
        self.held_out = HeldOut(data, transform, **loading, num_pictures=num_pictures, limit=limit)

    def check(self, model: Any) -> None:
        """Raise a UserError where the model takes images of another size."""
        expect_size(model, self.data)

    def stamps(self) -> list[str]:
        """What changes with the files that it looks at."""
        return [*self.bank.stamps(), *self.held_out.stamps()]

    def due(self, step: int, total_steps: int) -> bool:
        return self.clock.due(step, total_steps)


def check_probe(temperature: float, l2: float | None, iterations: int) -> None:
    """ValueError where neighbours cannot be weighted or a linear classifier cannot be fitted like this."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if l2 is not None and l2 < 0:
        raise ValueError(f"l2 must not be negative, or null for no linear classifier, got {l2}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
