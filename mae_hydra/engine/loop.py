"""The training loop. It knows steps, clocks and files, and no task."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from mae_hydra.distributed import is_main, rank
from mae_hydra.engine.checkpoint import Checkpoints
from mae_hydra.engine.cut import Cut
from mae_hydra.engine.evaluations import Evaluations, scalars
from mae_hydra.engine.interrupt import Interrupted, Interruption
from mae_hydra.engine.settings import Settings
from mae_hydra.engine.skipped_steps import SkippedSteps
from mae_hydra.engine.state import State
from mae_hydra.engine.step import set_learning_rates, train_step
from mae_hydra.engine.stopwatch import Stopwatch
from mae_hydra.profiling import profiling, stage
from mae_hydra.seeds import seed_device
from mae_hydra.types import Evaluation, Evaluator, Progress, Schedule, Stream, Tracker


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

    `forward` is the wrapped `state.model` (see `wrap`). A checkpoint is saved after the last step. A signal (see
    `Interruption`) saves the state and raises `Interrupted`; an error goes on with the finished steps saved. `config`
    and `meta` are plain values that go to the tracker and into every checkpoint.
    """
    start, total = state.step, schedule.steps
    evaluations = Evaluations(evaluators, total, settings, seed)
    checkpoints.config, checkpoints.meta = config, meta
    interruption = Interruption()
    stopwatch = Stopwatch(settings.torch_device)
    skipped = SkippedSteps(run_dir, settings.nonfinite_limit, settings.log_every)

    @contextmanager
    def saving_on_error() -> Iterator[None]:
        """Whatever fails (a picture that cannot be read, memory that runs out), the steps before it are kept.

        The state is then that of the last finished step: evaluations change nothing, and a step that fails before its
        update leaves nothing but learning rates, which every step sets anew; in its update the state is not `whole`.
        The main process saves alone: the others may wait elsewhere, or be gone.
        """
        try:
            yield
        except Exception:
            if state.whole and state.step > start and is_main():
                checkpoints.write(state)
            raise

    def ended() -> bool:
        return state.step >= total or bool(state.callbacks.ended)

    def tell_callbacks(new: Mapping[str, float]) -> bool:
        return state.callbacks.tell(Progress(state.step, total, new, state.metrics, checkpoints.best, run_dir))

    def log() -> dict[str, float]:
        values = state.progress(stream.steps_per_epoch, settings.global_batch) | stopwatch.read()
        state.metrics |= values
        tracker.scalars(state.step, values)
        with saving_on_error():
            skipped.counted(state.step, values)
        return values

    def evaluate_log_save() -> None:
        """What is due after `state.step` steps. Where nothing is, nothing waits for the device."""
        stop = interruption.requested(settings.torch_device, together=state.step % settings.log_every == 0)
        found: Mapping[str, Evaluation] | None = {}
        if evaluations.due(state.step):
            with stopwatch.paused(), saving_on_error():
                # Asked to stop: the evaluation is left for the next start, which begins here again.
                found = None if stop else evaluations.run(state, interruption)
        is_best = wanted = False
        if found is not None:
            # All that is said of a step is said together, in one start: W&B takes no late value for an earlier step.
            state.evaluated = state.step
            # The first step too: who waits for a large model sees at once that it trains, and for how long it will.
            logged = log() if state.step % settings.log_every == 0 or state.step in (1, total) else {}
            for name, evaluation in found.items():
                tracker.evaluation(state.step, name, evaluation)
            values = scalars(found)
            state.metrics |= values
            is_best = checkpoints.improves(state.step, values)
            if new := logged | values:
                with saving_on_error():
                    wanted = tell_callbacks(new)
        stop = stop or found is None
        last = stop or ended()
        if last or is_best or wanted or checkpoints.due(state.step):
            with stopwatch.paused():
                skipped.read()
                checkpoints.save(state, is_best=is_best, last=last)
        if stop and not (ended() and state.evaluated == state.step):
            raise Interrupted(state.step, interruption.signal)

    ending = "failed"
    state.model.train()
    try:
        tracker.start(run_dir, config, state.step)
        # Closed whatever happens: the processes that load data must not outlive the training.
        with (
            closing(stopwatch.watch(stream.batches(state.step))) as batches,
            interruption,
            profiling(settings.profile_steps, run_dir) as profiled,
        ):
            tell_callbacks({})
            if state.evaluated < state.step:
                evaluate_log_save()
            stopwatch.read()
            while not ended():
                # All that is random in a step follows from this line, so a resumed run draws the same.
                seed_device(seed, "step", state.step, rank())
                set_learning_rates(state.optimizer, schedule.factor(state.step))
                with saving_on_error():
                    result = train_step(state, forward, batches, accumulate=cut.accumulate, settings=settings)
                    state.window.add(result)
                    skipped.add(state.step, result)
                    profiled()
                stopwatch.images += settings.global_batch
                with stage("log, evaluate, save"):
                    evaluate_log_save()
        skipped.end(state.metrics, checkpoints.monitor)
        ending = "completed"
    except (Interrupted, KeyboardInterrupt):
        ending = "interrupted"
        raise
    finally:
        checkpoints.close()
        tracker.finish(ending, state.metrics)
    return dict(state.metrics)
