"""Several trackers as one, none of which can stop the training."""

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from mae_hydra.distributed import is_main
from mae_hydra.types import Evaluation, Tracker

log = logging.getLogger("mae_hydra")


class Trackers:
    """Hands everything on to each of `trackers`; silent in all processes but the main one.

    A tracker that raises is dropped with one warning: a lost server must not cost a day of training. Those of the run's
    `own` are told everything to the end, whatever they raise.
    """

    def __init__(self, trackers: Iterable[Tracker], own: Iterable[Tracker] = ()) -> None:
        self._own = list(own)
        self._waiting = [*self._own, *trackers] if is_main() else []
        self._running: list[Tracker] = []
        self._failed: set[int] = set()  # of the own ones, by identity

    def start(self, run_dir: Any, config: Mapping[str, Any], step: int) -> None:
        for tracker in self._waiting:
            self._running.append(tracker)
            self._ask(tracker, "start", run_dir, config, step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._each("scalars", step, values)

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        self._each("evaluation", step, name, evaluation)

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        self._each("finish", state, summary)

    def _each(self, method: str, *arguments: Any) -> None:
        for tracker in list(self._running):
            self._ask(tracker, method, *arguments)

    def _ask(self, tracker: Tracker, method: str, *arguments: Any) -> None:
        try:
            getattr(tracker, method)(*arguments)
        except Exception as error:  # whatever it is: it is the tracker's, not the training's
            name = type(tracker).__name__
            log.warning("%s.%s failed", name, method, exc_info=True)
            if not any(tracker is own for own in self._own):
                self._running.remove(tracker)
                print(f"warning: {name} failed ({error}); training goes on without it", file=sys.stderr)
            elif id(tracker) not in self._failed:
                self._failed.add(id(tracker))
                print(f"warning: {name} failed ({error}); it is told what follows all the same", file=sys.stderr)
