"""What a person sees of a run while it trains."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import rich.console
from rich.progress import BarColumn, Progress, TextColumn

from mae_hydra.names import clean
from mae_hydra.terminal import filled
from mae_hydra.types import Evaluation

ROOM_FOR_A_BAR = 110  # columns of a terminal
REDRAWN = 0.1  # seconds between two states of a bar
Watch = Callable[[Iterable[Any], int], Iterator[Any]]
log = logging.getLogger("mae_hydra")


class Console:
    """One living line on a terminal; elsewhere (a log file, CI) a plain line every `every_seconds`.

    Results of evaluations are lines of their own, and go to the log as well, as do the plain lines. While an evaluation
    looks at its images (`watched`), how many it has seen stands below.
    """

    def __init__(
        self, *, total_steps: int, every_seconds: float = 15.0, console: rich.console.Console | None = None
    ) -> None:
        self.total_steps, self.every_seconds = total_steps, every_seconds
        self.console = console or rich.get_console()

    def start(self, run_dir: Any, config: Mapping[str, Any], step: int) -> None:
        self._first_step, self._began = step, time.monotonic()
        self._said = -self.every_seconds + self._began  # the first line is said at once
        self._progress: Progress | None = None
        if self.console.is_terminal:
            bar = (BarColumn(bar_width=20),) if self.console.width >= ROOM_FOR_A_BAR else ()
            columns = (*bar, TextColumn("{task.description}", markup=False))
            self._progress = Progress(*columns, console=self.console, auto_refresh=False)
            self._task = self._progress.add_task(self._at(step), total=self.total_steps, completed=step)
            self._progress.start()

    def watched(self, name: str) -> Watch:
        """What is handed the batches of the evaluation `name` and how many images they hold, and gives them on."""

        def watch(batches: Iterable[Any], total: int) -> Iterator[Any]:
            progress, done, said = self._progress, 0, time.monotonic()
            task = (
                None
                if progress is None
                else progress.add_task(f"{name}: {_right(0, total)}/{total} images", total=total)
            )
            every = self.every_seconds if progress is None else REDRAWN
            try:
                for batch in batches:
                    yield batch
                    done += len(batch)
                    if time.monotonic() - said < every:
                        continue
                    said = time.monotonic()
                    line = f"{name}: {_right(done, total)}/{total} images"
                    if progress is None or task is None:
                        self._say(line)
                    else:
                        progress.update(task, completed=done, description=line, refresh=True)
            finally:
                if progress is not None and task is not None:
                    progress.remove_task(task)

        return watch

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        parts = [self._at(step), *_figures(values)]
        if step > self._first_step:  # else it was taken by an earlier process, and there is no pace yet
            parts.append(f"{self._left(step)} left")
        line = " · ".join(parts)
        if self._progress is not None:
            self._progress.update(self._task, completed=step, description=line, refresh=True)
        elif time.monotonic() - self._said >= self.every_seconds or step == self.total_steps:
            self._said = time.monotonic()
            self._say(line)

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        scalars = " · ".join(f"{scalar} {_short(value)}" for scalar, value in evaluation.scalars.items())
        self._say(f"{self._at(step)} · {name}: {scalars}")

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        if self._progress is not None:
            self._progress.stop()
        word = "stopped" if state == "interrupted" else state  # the job says that, with the step and the way on
        self._say(f"{word} after {_duration(time.monotonic() - self._began)}")

    def _at(self, step: int) -> str:
        return f"step {_right(step, self.total_steps)}/{self.total_steps}"

    def _say(self, line: str) -> None:
        shown = filled(clean(line), self.console.width) if self.console.is_terminal else clean(line)
        self.console.print(shown, markup=False, emoji=False, highlight=False, soft_wrap=True)
        log.info(line)

    def _left(self, step: int) -> str:
        """Time to go at the pace since the start of this process, evaluations included."""
        pace = (time.monotonic() - self._began) / (step - self._first_step)
        return _duration(pace * (self.total_steps - step))


def _figures(values: Mapping[str, float]) -> list[str]:
    """The few values of a log line that fit on one line of a terminal, each as wide as the last time."""
    wanted: dict[str, Callable[[float], str]] = {
        "train/loss": lambda loss: f"loss {_short(loss):>6}",
        "train/lr": "lr {:.2e}".format,
        "perf/images_per_second": lambda rate: f"{_short(rate):>6} img/s",
        "perf/memory_gb": "{:.2f} GB".format,
    }
    return [tell(values[name]) for name, tell in wanted.items() if name in values]


def _right(number: int, largest: int) -> str:
    return f"{number:{len(str(largest))}}"


def _short(value: float) -> str:
    return f"{value:#.4g}".removesuffix(".")


def _duration(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
