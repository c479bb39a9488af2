"""Callbacks: parts that are told the numbers of a run, and may end it or have it saved."""

import json
from collections.abc import Mapping
from typing import Any

from mae_hydra.distributed import broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.types import Callback, Progress, Remembering, Request


class EarlyStopping:
    """Ends training after `patience` evaluations without a better `monitor`, which must be `checkpoint.monitor`."""

    def __init__(self, *, monitor: str, patience: int) -> None:
        self.monitor, self.patience, self.since_best = monitor, patience, 0

    def on_progress(self, progress: Progress) -> Request | None:
        best = progress.best
        if self.monitor in progress.new:
            self.since_best = 0 if best is not None and best["step"] == progress.step else self.since_best + 1
        if best is None or self.since_best < self.patience:
            return None
        than = f"{self.monitor} than {best['value']:.4g} of step {best['step']}"
        return Request(stop=f"{self.since_best} evaluation{'s' * (self.since_best > 1)} without a better {than}")

    def state_dict(self) -> dict[str, int]:
        return {"since_best": self.since_best}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.since_best = state["since_best"]


class Callbacks:
    """The callbacks of a run, by the key that configures each. `ended`: why training ends; `given_up`: as no good."""

    def __init__(self, callbacks: Mapping[str, Callback] | None = None) -> None:
        self._callbacks = dict(callbacks or {})
        self.ended, self.given_up = "", False
        self.state_dict()  # what cannot be saved is said before the first step

    def tell(self, progress: Progress) -> bool:
        """Tell every callback; whether one wants a checkpoint. All processes call it, those of the main one answer."""
        if not self._callbacks:
            return False
        key, reasons, save, given_up, failure = "", [], False, False, None
        try:
            for key, callback in self._callbacks.items() if is_main() else ():
                request = callback.on_progress(progress) or Request()
                if request.stop:
                    reasons.append(f"{request.stop} ({key})")
                    given_up |= request.given_up
                save |= request.save
        except Exception as error:  # of anybody's code
            failure = error
        said = failure and f"{key} failed after step {progress.step} ({type(failure).__name__}: {failure})"
        said, self.ended, self.given_up, save = broadcast_object((said, "; ".join(reasons), given_up, save))
        if said:
            raise UserError(f"{said}; mend it, or leave it out with ~{key}, and start again") from failure
        return bool(save)

    def state_dict(self) -> dict[str, Any]:
        """The state of each callback that has one; UserError where it is nothing that a checkpoint can hold."""
        callbacks = self._callbacks.items()
        states = {key: callback.state_dict() for key, callback in callbacks if isinstance(callback, Remembering)}
        for key, state in states.items():
            try:
                json.dumps(state)
            except (TypeError, ValueError) as error:
                raise UserError(f"{key}: its state_dict() gives what JSON does not hold ({error})") from error
        return states

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """What each had remembered; a callback that the run had not before begins with nothing."""
        for key in states.keys() & self._callbacks.keys():
            callback = self._callbacks[key]
            if isinstance(callback, Remembering):
                callback.load_state_dict(states[key])
