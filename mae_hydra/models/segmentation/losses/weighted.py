"""Several losses added up."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Integer
from torch import Tensor, nn

from mae_hydra.types import Loss


class WeightedLosses(nn.Module):
    """The sum of `losses`, each times its number in `weights`; the log has every one of them by name, unweighted.

    All count the same pixels: they have one `ignore_index`, and one `normalizer` where they have it.
    """

    ignore_index: int

    def __init__(self, *, losses: Mapping[str, Any], weights: Mapping[str, float]) -> None:
        super().__init__()
        if losses.keys() != weights.keys() or not losses:
            raise ValueError(f"weights must have one number for each of {', '.join(losses)}, got {dict(weights)}")
        if min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ValueError(f"weights must not be negative, and not all 0, got {dict(weights)}")
        for name in ("ignore_index", "normalizer"):
            normalizers = {part: getattr(loss, name, "valid") for part, loss in losses.items()}
            if len(set(normalizers.values())) > 1:
                raise ValueError(f"losses that are added up must have one {name}, got {normalizers}")
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)
        self.ignore_index = next(iter(losses.values())).ignore_index

    def forward(self, logits: Float[Tensor, "b classes _ _"], labels: Integer[Tensor, "b h w"]) -> Loss:
        results = {name: loss(logits, labels) for name, loss in self.losses.items()}
        total = sum(self.weights[name] * loss.total for name, loss in results.items())
        count = next(iter(results.values())).count
        extras = {name: value for loss in results.values() for name, value in loss.extras.items()}
        return Loss(total, count, {**extras, **{name: loss.total.detach() for name, loss in results.items()}})
