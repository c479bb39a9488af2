"""Scores of torchmetrics beside an evaluator's own, each an object that the configuration names."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mae_hydra.errors import UserError


class ExtraMetrics:
    """`metrics`: torchmetrics objects by the name under which their value is told.

    They see each image once, on whichever process, and add up over processes as torchmetrics does.
    """

    def __init__(self, metrics: Mapping[str, Any] | None) -> None:
        self.metrics = dict(metrics or {})
        for name, metric in self.metrics.items():
            if not all(hasattr(metric, method) for method in ("update", "compute", "reset", "to")):
                raise UserError(f"evaluation metric {name} is a {type(metric).__name__}, not one of torchmetrics")

    def __bool__(self) -> bool:
        return bool(self.metrics)

    def reset(self, device: torch.device) -> None:
        """Begin anew, on the device of what is to come."""
        for metric in self.metrics.values():
            metric.to(device).reset()

    def check(self, num_classes: int, *, scored: bool) -> None:
        """Try the first and the last class, rightly predicted: as classes, or as probabilities where they are `scored`.

        UserError where a metric does not take them or gives several numbers: before training, not at the first
        evaluation. Nothing is added up over processes.
        """
        targets = torch.tensor([0, num_classes - 1])
        predictions = torch.nn.functional.one_hot(targets, num_classes).float() if scored else targets
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that are absent here
            for name, metric in self.metrics.items():
                _number(name, _given(name, metric, predictions, targets))
                metric.reset()

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Scores or classes, and the classes that are right; UserError where a metric does not take them."""
        for name, metric in self.metrics.items():
            _given(name, metric.update, predictions, targets)

    def compute(self) -> dict[str, float]:
        """One number for each; UserError where a metric gives several."""
        return {name: _number(name, metric.compute()) for name, metric in self.metrics.items()}


def _given(name: str, function: Callable[..., Any], predictions: Tensor, targets: Tensor) -> Any:
    try:
        return function(predictions, targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"evaluation metric {name} does not take these: {str(error).splitlines()[0]}") from error


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise UserError(f"evaluation metric {name} gives no single number; average it (average=macro)")
    return float(value)
