"""Doubts about a run: too few images for batch normalization, weights that stay random, a score that nobody gives."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from mae_hydra.batch_norm import check_enough, learned_statistics
from mae_hydra.distributed import is_main
from mae_hydra.engine import Cut
from mae_hydra.errors import UserError
from mae_hydra.experiment.messages import warn
from mae_hydra.types import Evaluation


def doubtful_statistics(model: nn.Module, cut: Cut, batch_norm: str) -> str | None:
    """What to say where statistics are of fewer images than a step has; UserError where they are of a single one."""
    if not learned_statistics(model.train()):
        return None
    of_process = cut.micro_batch * cut.accumulate
    whole = of_process * cut.world_size
    batch_size = "data.batch_size=2 or more"
    if whole > 1:
        check_enough(of_process if batch_norm == "step" else cut.micro_batch, batch_size)
    else:  # no batch can be larger than a step
        check_enough(whole, "engine.global_batch=2 or more" + ("" if batch_norm == "step" else f" with {batch_size}"))
    if batch_norm == "step" or cut.accumulate == 1:
        return None
    return (
        f"batch normalization sees {cut.micro_batch * cut.world_size} of a step's {whole} images at a time; "
        f"engine.batch_norm=step takes its statistics from all {whole}, for one more forward pass of the encoder, and "
        f"so does data.batch_size={of_process}, where memory allows (engine.recompute=true needs less)"
    )


def check_partners(model: nn.Module, cut: Cut) -> None:
    """UserError where images are to be mixed with others of their micro-batch, and there are none."""
    if getattr(model, "mixing", None) is not None and cut.micro_batch == 1:
        raise UserError(
            "mixup and CutMix mix the images of a micro-batch, and a single one would stay as it is; use "
            "data.batch_size=2 or more, or model.mixing=null"
        )


def warn_of_random_encoder(model: nn.Module, name: str) -> None:
    """Say that `model`, into which nothing was loaded, has an encoder that stays at random, wholly or in part."""
    encoder = getattr(model, "encoder", None)
    if encoder is None or not is_main():
        return
    learned = {part: weight for part, weight in encoder.named_parameters() if part != "pos_embed"}  # which may be fixed
    frozen = sum(weight.numel() for weight in learned.values() if not weight.requires_grad)
    share = frozen / sum(weight.numel() for weight in learned.values())
    if not share:
        return
    what = "the encoder is" if share == 1 else f"{share:.0%} of the encoder's weights are"
    message = (
        f"{name} without init_from probes random weights: {what} frozen and nothing was loaded; "
        "give init_from=<run or checkpoint>, unless that is what you want to know"
    )
    warn([message], "warning")


class MissingMonitor:
    """A tracker that warns, once every evaluator was heard, of a monitored scalar that none of them gives."""

    def __init__(self, monitor: str, evaluators: Collection[str]) -> None:
        self._monitor, self._unheard, self._given = monitor, set(evaluators), set[str]()

    def start(self, run_dir: Any, config: Mapping[str, Any], step: int) -> None: ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        """Note what `name` gives; the warning comes with the last evaluator that was still to be heard."""
        if name not in self._unheard:
            return
        self._unheard.remove(name)
        self._given |= {f"val/{scalar}" for scalar in evaluation.scalars}
        if not self._unheard and self._monitor not in self._given:
            given = ", ".join(sorted(self._given)) or "no scalars"
            compared = "" if self._monitor.startswith("train/") else ", and no score by which runs are compared"
            message = (
                f"no evaluation gives checkpoint.monitor={self._monitor}, so there is no best.pt{compared}; "
                f"the evaluations give {given}"
            )
            warn([message], "warning")

    def finish(self, state: str, summary: Mapping[str, Any]) -> None: ...
