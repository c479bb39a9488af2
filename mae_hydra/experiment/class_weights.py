"""Class weights that a loss wants to have from the training images (`class_weights: auto`)."""

import logging
from collections.abc import Sequence

from torch import nn

from mae_hydra.data import ImageData, median_frequency_weights
from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError

log = logging.getLogger("mae_hydra")


def give_class_weights(model: nn.Module, data: ImageData, known: Sequence[float] | None) -> list[float] | None:
    """Set them in every part of `model` that says `wants_class_weights`; None where none does.

    `known`: those with which a run began, which it goes on with. All processes call this, before the model is moved.
    """
    parts = [part for part in model.modules() if getattr(part, "wants_class_weights", False)]
    if not parts:
        return None
    weights = list(known) if known else _worked_out(data)
    if len(weights) != data.num_classes:
        raise UserError(f"the run has {len(weights)} class weights, and the data {data.num_classes} classes")
    for part in parts:
        part.set_class_weights(weights)  # type: ignore[operator]
    return weights


def _worked_out(data: ImageData) -> list[float]:
    """Work the weights out in the main process, for all."""
    outcome: tuple[list[float], str] | UserError | None = None
    if is_main():
        try:
            outcome = median_frequency_weights(data)
        except UserError as error:
            outcome = error
    outcome = broadcast_object(outcome)
    if isinstance(outcome, UserError):
        raise outcome
    assert outcome is not None
    if is_main():
        log.info(outcome[1])
        print(outcome[1], flush=True)
    return outcome[0]
