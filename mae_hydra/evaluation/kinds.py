"""What an evaluator can judge: a model that gives classes to pixels, to images, or to nothing."""

from typing import Any

import torch

from mae_hydra.data import ImageData, Sample
from mae_hydra.errors import UserError
from mae_hydra.evaluation.metrics import check_classes
from mae_hydra.types import Answer, answers, image_size_of

SAYS = {
    "pixels": "gives every pixel a class",
    "images": "gives every image a class",
    "reconstruction": "predicts no classes",
    None: "says of no answer that it gives it",
}
OPTIONS = {"pixels": "segment", "images": "classify", "reconstruction": "pretrain", None: "features"}  # of evaluation=
MODELS = {
    "pixels": "upernet_* or segprobe_*",
    "images": "classifier_*, partial_* or probe_*",
    "reconstruction": "mae_*",
}


def expect(model: Any, wanted: Answer, score: str) -> None:
    """UserError where `model` says of itself that `score` cannot be had of it."""
    answer = answers(model)
    if hasattr(model, "answers") and answer != wanted:
        raise UserError(
            f"{score} judges a model that {SAYS[wanted]}, and this one {SAYS[answer]}; judge it with "
            f"evaluation={OPTIONS[answer]}, or take a run of model={MODELS[wanted]}"
        )
    if wanted == "pixels" and not callable(getattr(model, "prepare", None)):
        raise UserError(
            f"{score} asks {type(model).__name__} for prepare(images), uint8 (B, C, H, W) -> normalized, and it has no "
            "such method; write it, as docs/extending.md tells"
        )


def expect_classes(model: Any, data: ImageData) -> None:
    """UserError where `model` does not give as many classes as the data have: a class that the other does not know
    would be counted nowhere."""
    known = getattr(model, "num_classes", None)
    if known != data.num_classes:
        raise UserError(f"the model knows {known or 'no'} classes, the data have {data.num_classes}")


def expect_size(model: Any, data: ImageData) -> None:
    """UserError where `model` takes images of one size, and it is not the data's."""
    wanted = image_size_of(model)
    if wanted is not None and wanted != tuple(data.image_size):
        size, own = ("x".join(map(str, sides)) for sides in (data.image_size, wanted))
        raise UserError(f"the model takes images of {own}, data.image_size is {size}")


def check_labels(sample: Sample, num_classes: int, ignore_index: int) -> None:
    """UserError, naming the sample, where its class map holds what is no class; on the host, where labels are."""
    try:
        check_classes("labels", torch.as_tensor(sample.label), num_classes, ignore_index)
    except ValueError as error:
        raise UserError(f"{sample.name}: {error}, besides {ignore_index} for pixels to ignore") from error
