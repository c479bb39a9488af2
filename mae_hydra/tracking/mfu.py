"""How much of the accelerator training uses, beside its images per second."""

from collections.abc import Mapping
from typing import Any

from mae_hydra.types import Evaluation, Tracker


class Utilisation:
    """A tracker that adds `perf/tflops` and `perf/mfu` (model FLOP utilisation, 0 to 1) of a device, and hands on.

    `flops_per_image`: of a training step. `peak_tflops`: of one device; images per second are those of all `devices`.
    """

    def __init__(self, tracker: Tracker, *, flops_per_image: float, peak_tflops: float, devices: int) -> None:
        self._tracker = tracker
        self._tflop = flops_per_image / devices / 1e12
        self._peak = peak_tflops

    def start(self, run_dir: Any, config: Mapping[str, Any], step: int) -> None:
        self._tracker.start(run_dir, config, step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if "perf/images_per_second" in values:
            reached = values["perf/images_per_second"] * self._tflop
            values = {**values, "perf/tflops": reached, "perf/mfu": reached / self._peak}
        self._tracker.scalars(step, values)

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        self._tracker.evaluation(step, name, evaluation)

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        self._tracker.finish(state, summary)
