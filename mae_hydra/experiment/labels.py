"""Whether the labels of a data set can mean what is configured, and whether they name the classes of the model."""

from dataclasses import replace
from typing import Any

import torch

from mae_hydra.data import ImageData, check_labels
from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.experiment.messages import warn
from mae_hydra.weights import MAPPED, Checkpoint, have_names, names_of, order_of
from mae_hydra.weights.adapt_shapes import CLASSIFIERS
from mae_hydra.weights.class_order import in_order


def say_doubts(data: ImageData, *, training: bool = True) -> None:
    """Look at a sample of the class maps: nonsense is a UserError in every process, doubt a line on the console."""
    verdict: list[str] | UserError = []
    if is_main():
        try:
            verdict = check_labels(data, training=training)
        except UserError as error:
            verdict = error
    verdict = broadcast_object(verdict)
    if isinstance(verdict, UserError):
        raise verdict
    warn(verdict, "warning")


def named_by(checkpoint: Checkpoint, data: ImageData) -> ImageData:
    """`data` with the names of the model's classes where it has none itself.

    Names that were assumed for it (ADE20K's, of 150 classes) count where the model has them too, in whatever order.
    """
    names = names_of(checkpoint)
    if len(names) != data.num_classes:
        return data
    nameless = data.class_names and not have_names(data.class_names)
    if data.assumed_names and not nameless:
        try:
            order_of(names, data.class_names)
        except ValueError:
            nameless = True
            warn(["the data have no classes.json: their classes are taken for the model's, number by number"], "note")
    return replace(data, class_names=tuple(names)) if nameless else data


@torch.no_grad()
def match_classes(model: Any, checkpoint: Checkpoint, data: ImageData) -> None:
    """Give the last layers of `model`, which came from `checkpoint`, the order in which the data name the same classes.

    UserError where they are others, or not as many. A model without classes is left as it is.
    """
    known = getattr(model, "num_classes", None)
    if known is None:
        return
    if known != data.num_classes:
        raise UserError(
            f"the model knows {known} classes, the data have {data.num_classes}; use the data set it was "
            f"trained on (data=…), or data.num_classes={model.num_classes} where the labels are the same"
        )
    try:
        order = order_of(names_of(checkpoint), data.class_names)
    except ValueError as error:
        where = "classes.json" if data.target == "map" else "the class folders, or data.classes"
        raise UserError(
            f"the classes of the model are not those of the data, {error}: use the data set it was trained on "
            f"(data=…), or where they are the same under other names, call the data's by the model's ({where})"
        ) from error
    if order is None:
        return
    weights = model.state_dict()
    if not set(CLASSIFIERS) & weights.keys():
        raise UserError(
            "model and data name the same classes in another order, and which layer of this model gives the classes is "
            f"not known (known are {', '.join(CLASSIFIERS[::2])}): give the data the model's order (classes.json)"
        )
    for name in CLASSIFIERS:
        if name in weights and name in checkpoint.tensors:
            weights[name].copy_(in_order(checkpoint.tensors[name], order))
    warn([f"model and data name {MAPPED}"], "note")
