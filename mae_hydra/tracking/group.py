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

    A tracker that raises is dropped with one warning: a full disk or a lost server must not cost a day of training.
    """

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self._waiting = list(trackers) if is_main() else []
        self._running: list[Tracker] = []

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
            self._running.remove(tracker)
            name = type(tracker).__name__
            log.warning("%s.%s failed", name, method, exc_info=True)
            print(f"warning: {name} failed ({error}); training goes on without it", file=sys.stderr)
