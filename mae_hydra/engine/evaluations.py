"""Evaluating in the middle of training, without leaving a trace in it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mae_hydra.distributed import rank
from mae_hydra.engine.interrupt import Interruption
from mae_hydra.engine.settings import Settings
from mae_hydra.engine.state import State
from mae_hydra.errors import UserError
from mae_hydra.seeds import seed_device
from mae_hydra.types import Evaluation, Evaluator


@dataclass(frozen=True)
class Evaluations:
    """All evaluators of a run; when each is due, the last step included, is for itself to say."""

    evaluators: Mapping[str, Evaluator]
    total_steps: int
    settings: Settings
    seed: int

    def due(self, step: int) -> dict[str, Evaluator]:
        return {name: e for name, e in self.evaluators.items() if e.due(step, self.total_steps)}

    def run(self, state: State, interruption: Interruption) -> dict[str, Evaluation] | None:
        """What every evaluator that is due found, by name, or None where a request to stop cut them short."""
        found: dict[str, Evaluation] = {}
        for name, evaluator in self.due(state.step).items():
            seed_device(self.seed, "evaluate", name, state.step, rank())
            evaluation = None
            # Not inference_mode: what a model keeps from here (a cached table, say) must be usable in training.
            with state.for_evaluation() as model, interruption.abandons(), torch.no_grad(), self.settings.autocast():
                evaluation = evaluator.run(model, state.step)
            if evaluation is None:
                return None
            others = {each for other in found.values() for each in _names(other)}
            if doubled := ", ".join(sorted(_names(evaluation) & others)):
                raise UserError(f"evaluator {name} reports {doubled}, and so does another; rename one of them")
            found[name] = evaluation
        return found


def _names(evaluation: Evaluation) -> set[str]:
    """What a run keeps of an evaluation by name, whichever evaluator it is from."""
    kept = {"val/": evaluation.scalars, "the table ": evaluation.tables, "the picture ": evaluation.pictures}
    return {f"{kind}{name}" for kind, values in kept.items() for name in values}


def scalars(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """All scalars of `found`, as `val/<name>`."""
    return {f"val/{n}": float(value) for evaluation in evaluations.values() for n, value in evaluation.scalars.items()}
