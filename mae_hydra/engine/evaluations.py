"""Evaluating in the middle of training, without leaving a trace in it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mae_hydra.distributed import rank
from mae_hydra.engine.interrupt import Interruption
from mae_hydra.engine.settings import Settings
from mae_hydra.engine.state import State
from mae_hydra.seeds import seed_device
from mae_hydra.types import Evaluator, Tracker


@dataclass(frozen=True)
class Evaluations:
    """All evaluators of a run: each says when it is due, and after the last step every one is."""

    evaluators: Mapping[str, Evaluator]
    total_steps: int
    settings: Settings
    seed: int
    tracker: Tracker

    def due(self, step: int) -> dict[str, Evaluator]:
        at_end = step == self.total_steps
        return {name: e for name, e in self.evaluators.items() if at_end or e.due(step, self.total_steps)}

    def run(self, state: State, interruption: Interruption) -> dict[str, float] | None:
        """The scalars of what is due as `val/<name>`, or None where a request to stop cut them short."""
        found: dict[str, float] = {}
        for name, evaluator in self.due(state.step).items():
            seed_device(self.seed, "evaluate", name, state.step, rank())
            evaluation = None
            state.model.eval()
            # Not inference_mode: what a model keeps from here (a cached table, say) must be usable in training.
            with interruption.abandons(), torch.no_grad(), self.settings.autocast():
                evaluation = evaluator.run(state.model, state.step)
            state.model.train()
            if evaluation is None:
                return None
            scalars = {f"val/{scalar}": float(value) for scalar, value in evaluation.scalars.items()}
            if doubled := ", ".join(sorted(scalars.keys() & found.keys())):
                raise ValueError(f"evaluator {name} reports {doubled}, and so does another; rename one of them")
            found |= scalars
            self.tracker.evaluation(state.step, name, evaluation)
        return found
