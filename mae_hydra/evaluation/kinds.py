"""What an evaluator can judge: a model that gives classes to pixels, to images, or to nothing."""

from typing import Any, Literal

from mae_hydra.errors import UserError
from mae_hydra.types import classifies

SAYS = {"pixels": "gives every pixel a class", "images": "gives every image a class", None: "predicts no classes"}
OPTIONS = {"pixels": "segment", "images": "classify", None: "pretrain"}  # of the group evaluation
MODELS = {"pixels": "upernet_* or segprobe_*", "images": "classifier_*, partial_* or probe_*", None: "mae_*"}


def expect(model: Any, wanted: Literal["pixels", "images"] | None, score: str) -> None:
    """UserError where `model` says of itself that `score` cannot be had of it."""
    found = classifies(model)
    if hasattr(model, "classifies") and found != wanted:
        raise UserError(
            f"{score} judges a model that {SAYS[wanted]}, and this one {SAYS[found]}; judge it with "
            f"evaluation={OPTIONS[found]}, or take a run of model={MODELS[wanted]}"
        )
