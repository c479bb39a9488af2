"""What happened since the last line of the log."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """Sums over one step (all micro-batches, all processes) as float64 scalars on the device.

    `sums`: "loss" and the model's extras. `grad_norm`: norm of the divided gradient, before clipping. `images`: which
    images this process had, on the host, where the data tell.
    """

    sums: dict[str, Tensor]
    count: Tensor
    grad_norm: Tensor
    images: list[Tensor | None]


class Window:
    """Sums on the device, because reading a number from it waits for all queued work; they are read once per line.

    Part of the state: a run resumed in the middle of a window logs the same line as one that was never interrupted.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, result: StepResult) -> None:
        finite, sums_finite = result.grad_norm.isfinite(), torch.stack(list(result.sums.values())).isfinite().all()
        # Divided by all pixels or by those that are labelled: without a label there is no loss and no gradient.
        nothing = (result.count == 0) | ((result.sums["loss"] == 0) & (result.grad_norm == 0))
        new = {
            **{f"sum/{name}": value.where(sums_finite, 0.0) for name, value in result.sums.items()},
            "count": result.count.where(sums_finite, 0.0),
            "uncounted_steps": nothing.double(),
            "grad_norm": result.grad_norm.where(finite, 0.0).double(),
            "finite_steps": finite.double(),
            "steps": torch.ones_like(result.count),
        }
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in new.items()}

    def read(self) -> dict[str, float]:
        """Means over the window, which is then empty. Losses are per counted element.

        Steps whose loss is not finite are left out of it: it is nan where no other was. Where nothing counted in any
        step there is no loss, and `uncounted_steps` says so. Steps whose gradient is not finite are left out of
        `grad_norm` and counted in `nonfinite_steps`.
        """
        values = dict(zip(self.sums, torch.stack(list(self.sums.values())).tolist(), strict=True))
        self.sums = {}
        losses = {n.removeprefix("sum/"): _ratio(v, values["count"]) for n, v in values.items() if n.startswith("sum/")}
        uncounted = values["uncounted_steps"] == values["steps"]
        means = {"uncounted_steps": values["steps"]} if uncounted else losses
        means["grad_norm"] = _ratio(values["grad_norm"], values["finite_steps"])
        if nonfinite := values["steps"] - values["finite_steps"]:
            means["nonfinite_steps"] = nonfinite
        return means


def _ratio(total: float, count: float) -> float:
    return total / count if count else float("nan")
