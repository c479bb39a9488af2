"""The training loop. It knows steps, clocks and files, and no task."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from mae_hydra.distributed import rank
from mae_hydra.engine.checkpoint import Checkpoints
from mae_hydra.engine.clock import Clock
from mae_hydra.engine.cut import Cut
from mae_hydra.engine.evaluations import Evaluations
from mae_hydra.engine.interrupt import Interrupted, Interruption
from mae_hydra.engine.profile import profiling
from mae_hydra.engine.settings import Settings
from mae_hydra.engine.state import State
from mae_hydra.engine.step import set_learning_rates, train_step
from mae_hydra.seeds import seed_device
from mae_hydra.types import Evaluator, Stream, Tracker


class Schedule(Protocol):
    """How many steps to train, and the factor of the learning rate at each of them."""

    @property
    def steps(self) -> int: ...

    @property
    def factor(self) -> Callable[[int], float]: ...


def fit(
    state: State,
    forward: nn.Module,
    stream: Stream,
    schedule: Schedule,
    evaluators: Mapping[str, Evaluator],
    checkpoints: Checkpoints,
    tracker: Tracker,
    settings: Settings,
    *,
    cut: Cut,
    seed: int,
    run_dir: Path,
    config: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> dict[str, float]:
    """Train from `state.step` to `schedule.steps` and return the last value of every scalar that was logged.

    `forward` is the wrapped `state.model` (see `wrap`). After the last step every evaluator runs and a checkpoint is
    saved. A signal (see `Interruption`) saves the state and raises `Interrupted`. `config` and `meta` are plain values
    that go to the tracker and into every checkpoint.
    """
    total = schedule.steps
    evaluations = Evaluations(evaluators, total, settings, seed, tracker)
    checkpoints.config, checkpoints.meta = config, meta
    interruption = Interruption()
    clock = Clock(settings.torch_device)

    def log() -> None:
        values = _progress(state, stream.steps_per_epoch, settings.global_batch) | clock.read()
        state.metrics |= values
        tracker.scalars(state.step, values)

    def evaluate_and_save() -> None:
        stop = interruption.requested(settings.torch_device, together=state.step % settings.log_every == 0)
        # Asked to stop: the evaluation is left for the next start, which begins here again.
        found = None if stop and evaluations.due(state.step) else evaluations.run(state, interruption)
        is_best = False
        if found is not None:
            state.evaluated = state.step
            state.metrics |= found
            is_best = checkpoints.improves(state.step, found)
        stop = stop or found is None
        if stop or is_best or state.step == total or checkpoints.due(state.step):
            checkpoints.save(state, is_best=is_best)
        if stop and state.evaluated < total:
            raise Interrupted(state.step)

    ending = "failed"
    state.model.train()
    try:
        tracker.start(run_dir, config, state.step)
        # Closed whatever happens: the processes that load data must not outlive the training.
        with (
            closing(clock.watch(stream.batches(state.step))) as batches,
            interruption,
            profiling(settings.profile_steps, run_dir) as profiled,
        ):
            if state.evaluated < state.step:
                evaluate_and_save()
            clock.read()
            while state.step < total:
                # All that is random in a step follows from this line, so a resumed run draws the same.
                seed_device(seed, "step", state.step, rank())
                set_learning_rates(state.optimizer, schedule.factor(state.step))
                state.window.add(train_step(state, forward, batches, accumulate=cut.accumulate, settings=settings))
                profiled()
                state.step += 1
                clock.images += settings.global_batch
                # The first step too: who waits for a large model sees at once that it trains, and for how long it will.
                if state.step % settings.log_every == 0 or state.step in (1, total):
                    log()
                with clock.paused():
                    evaluate_and_save()
        ending = "completed"
    except (Interrupted, KeyboardInterrupt):
        ending = "interrupted"
        raise
    finally:
        tracker.finish(ending, state.metrics)
    return dict(state.metrics)


def _progress(state: State, steps_per_epoch: float, global_batch: int) -> dict[str, float]:
    """What the log says of the steps since its last line; reading it waits for the device."""
    return {f"train/{name}": value for name, value in state.window.read().items()} | {
        "train/lr": max(group["lr"] for group in state.optimizer.param_groups),
        "epoch": state.step / steps_per_epoch,
        "images": state.step * global_batch,
    }
