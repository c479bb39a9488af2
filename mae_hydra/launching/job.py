"""One job: the run directory, its status, and every way in which it can end."""

import json
import logging
import math
import os
import re
import shlex
import sys
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mae_hydra import atomic
from mae_hydra.configuration.check import check
from mae_hydra.configuration.key_meaning import Decides, differences
from mae_hydra.configuration.whole_nodes import take_whole_nodes
from mae_hydra.distributed import is_main, world_size
from mae_hydra.engine import Interrupted
from mae_hydra.errors import UserError
from mae_hydra.experiment import resuming, sweeps
from mae_hydra.experiment.going_on import as_recorded
from mae_hydra.experiment.holder import Refused, holding
from mae_hydra.experiment.messages import say
from mae_hydra.experiment.processes import num_processes, run_in_processes
from mae_hydra.experiment.provenance import changed_code
from mae_hydra.experiment.run import run
from mae_hydra.experiment.same_run import (
    Trained,
    changed_settings,
    edited_since,
    recorded_config,
    refuse_another,
    saved_steps,
    scores_differ,
    what_was_trained,
)
from mae_hydra.experiment.start import Start, discard_empty, discard_unbegun
from mae_hydra.experiment.status import DONE, Ending, Status, read_status
from mae_hydra.experiment.sweep_names import name_job
from mae_hydra.launching.scheduler import join_tasks, pass_on
from mae_hydra.launching.stages import check_stages, run_stages
from mae_hydra.launching.sweep_jobs import OF_A_SWEEP
from mae_hydra.names import harmless

log = logging.getLogger("mae_hydra")


BEGINNING = (None, *resuming.NO_DIRECTORY)  # `resume` where it names no directory
WRITTEN = ("config.yaml", "environment.json", "git.json", "git.diff", "metrics.jsonl", "results.json", "error.txt")


def run_job(config: DictConfig) -> float:
    """Train what `config` describes; returns the monitored metric (nan for a failed job of a sweep).

    In a single run errors propagate, and a mistake that is met before the first step leaves no directory. In a sweep a
    failed job is recorded (`status.json`, `error.txt`, the table) and the next one starts, unless `fail_fast`.
    """
    try:
        with ExitStack() as held:  # let go of last, when all is written
            return _run_job(config, held)
    except UserError:
        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.RUN and OF_A_SWEEP not in os.environ and world_size() == 1:
            discard_unbegun(Path(hydra_config.runtime.output_dir), Path(str(config.paths.output_root)))
        raise


def _run_job(config: DictConfig, held: ExitStack) -> float:
    hydra_config = HydraConfig.get()
    in_sweep = hydra_config.mode == RunMode.MULTIRUN or OF_A_SWEEP in os.environ
    run_dir = Path(hydra_config.runtime.output_dir)
    overrides = resuming.lasting(hydra_config.overrides.task)
    take_whole_nodes(config, hydra_config.overrides.task)
    if hydra_config.sweeper.params and not in_sweep and config.resume in BEGINNING:
        discard_empty(run_dir)
        swept = ", ".join(hydra_config.sweeper.params)
        raise UserError(f"this configuration sweeps over {swept}; add -m: python train.py -m {shlex.join(overrides)}")

    join_tasks()
    status = None
    try:
        if is_main():  # of several processes the first one keeps the directory
            _refuse_foreign(run_dir)
            lock = held.enter_context(holding(run_dir))
        trained = what_was_trained(run_dir)
        if resuming.own is not None:
            # A hostile word is refused, also where the checkpoint's value would be taken in place of its own.
            resuming.refuse_foreign(config, run_dir, resuming.typed)
            config, otherwise = as_recorded(config, run_dir, resuming.own, trained)
            if otherwise and is_main():
                say(f"goes on with its own configuration, which today's option files have otherwise: {otherwise}")
        if resuming.source is not None:
            resuming.refuse_foreign(config, resuming.source, resuming.typed)
            if not any(map(Path.is_file, saved_steps(run_dir))):  # it has no weights of its own to go on from
                resuming.refuse_recorded_address(config, resuming.source)
        name_job(config, run_dir, overrides)
        check(config)
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
        check_stages(plain["then"], overrides, run_dir)
        finished = _look_back(run_dir, plain, trained)
        if finished is not None:
            return _followed(plain, run_dir, finished, overrides)
        if not is_main():
            return run(config, plain, run_dir).value
        status = Status(run_dir, plain, overrides)
        start = Start.of(plain, overrides, status.content)
        new = config.resume in BEGINNING and not any(map(Path.is_file, saved_steps(run_dir)))
        if new:
            start.write(run_dir)
        later = None if new else start  # not before it is certain that what there is goes on
        processes = num_processes(plain["engine"])
        if processes == 1:
            ending = run(config, plain, run_dir, later)
        else:
            ending = run_in_processes(processes, plain, run_dir, lock, start=later)
        _finish(status, "pruned" if ending.pruned else "completed", value=ending.value, ended=ending.why or None)
        status = None  # it stays complete, whatever becomes of what follows
        return _followed(plain, run_dir, ending, overrides)
    except Interrupted as interruption:
        log.warning("%s", interruption)
        if status is not None:  # there is something to go on from, so it was written
            _finish(status, "interrupted", error=str(interruption))
        if is_main():
            again = _same_command(run_dir.parent) if in_sweep else resuming.to_go_on(run_dir)
            print(f"{interruption}. To go on: {again}", file=sys.stderr)
        pass_on(interruption.signal)
        raise KeyboardInterrupt from interruption  # ends a sweep too
    except KeyboardInterrupt:
        if status is not None and status.written:
            _finish(status, "interrupted", error="stopped before the state could be saved")
        raise
    except BaseException as error:
        log.error("%s", error, exc_info=not isinstance(error, UserError))
        if status is None and is_main() and not isinstance(error, Refused) and read_status(run_dir) is None:
            with suppress(OSError):  # what has failed is said below, and may be just this
                status = Status(run_dir, {"name": config.get("name"), "task": config.get("task")}, overrides)
                status.write()
        if status is not None and status.written:  # otherwise it belongs to an earlier run, which stays as it is
            with suppress(OSError):
                atomic.write_text(run_dir / "error.txt", traceback.format_exc())
            _finish(status, "failed", error=f"{type(error).__name__}: {error}".splitlines()[0])
        if not in_sweep:
            raise
        if OF_A_SWEEP in os.environ:
            raise  # the process that runs the sweep goes on
        state = "refused" if isinstance(error, Refused) else "failed"
        sweeps.outcomes[run_dir.name] = sweeps.Outcome(state, str(error))
        print(f"job {run_dir.name} failed: {harmless(error)}", file=sys.stderr)
        if config.fail_fast:
            raise sweeps.SweepStopped from error
        return math.nan


def _same_command(sweep_dir: Path) -> str:
    """What starts a sweep again; one whose directory has the time for a name has another one the next time."""
    named_by_time = re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-[0-9a-f]{4}", sweep_dir.name)
    return f"the same command{f' with hydra.sweep.dir={shlex.quote(str(sweep_dir))}' if named_by_time else ''}"


def _followed(config: dict[str, Any], run_dir: Path, ending: Ending, overrides: list[str]) -> float:
    """The value of the last run that follows this one, or its own; what was given up is followed by nothing."""
    return ending.value if ending.pruned else run_stages(config["then"], run_dir, ending.value, overrides)


def _refuse_foreign(run_dir: Path) -> None:
    """Refused where the directory holds files under the names of ours that no run has written."""
    if any((run_dir / name).exists() for name in resuming.OF_A_RUN):
        return
    for name in WRITTEN:
        if (run_dir / name).exists():
            raise Refused(f"{run_dir} holds {name} and is no run; name another directory with hydra.run.dir")


def _finish(
    status: Status, state: str, value: float | None = None, error: str | None = None, ended: str | None = None
) -> None:
    """Write down how the run ended, also where there is no room for a second file: then over the old one."""
    try:
        status.finish(state, value, error, ended)
    except OSError:
        try:
            with open(status.path, "r+") as file:
                json.dump(status.content, file, default=str)
                file.truncate()
        except OSError as refused:
            print(f"warning: {status.path} does not say that this run is {state} ({refused.strerror})", file=sys.stderr)


def _look_back(run_dir: Path, config: dict[str, Any], trained: Trained | None) -> Ending | None:
    """Compare with an earlier attempt there, `trained`: how it ended if it is done, None if there is work."""
    resume = config["resume"]
    if resume not in BEGINNING:
        _check_is_run(Path(resume), run_dir)
    if resume == "never":
        return None
    previous = read_status(run_dir)
    completed = previous is not None and previous["state"] in DONE
    if trained is None and completed:
        trained = Trained(recorded_config(run_dir), None)
    if trained is None:
        return None
    refuse_another(run_dir, config, trained)
    for note in trained.newer if is_main() else ():
        say(note)
    changed = changed_settings(config, trained)
    edited = edited_since(run_dir, trained)
    if edited and is_main():
        say(f"{run_dir / 'config.yaml'} is not what was trained by, and does not count ({edited})")
    pruned = previous is not None and previous["state"] == "pruned"
    if pruned and any(
        key.startswith("callbacks") for key in differences(trained.config or config, config, Decides.RUNNING)
    ):
        completed = False  # whoever judges it otherwise now may let it go on
    if previous is not None and completed:
        change = changed_code(run_dir)
        note = "" if change is None else f"; the code has changed since ({change}), resume=never trains it anew"
        note += f"; what was typed otherwise now changes nothing in it ({changed})" if changed else ""
        done = f"was {previous['ended']}; callbacks=none trains it to its end" if pruned else "is already complete"
        value = "" if previous["value"] is None else f" (value {previous['value']:.4g})"
        say(f"{run_dir.name} {done}{value}; nothing to do{note}")
        return Ending(math.nan if previous["value"] is None else float(previous["value"]), "", pruned)
    if changed and is_main():
        anew = "; best.pt is chosen anew from here on" if scores_differ(config, trained) else ""
        say(f"goes on with other settings, which do not change what is trained: {changed}{anew}")
    return None


def _check_is_run(resume: Path, run_dir: Path) -> None:
    if not any((resume / name).exists() for name in ("checkpoints", "config.yaml", "overrides.yaml", "status.json")):
        raise Refused(
            f"resume={resume}: no checkpoints/last.pt there; give the directory of an interrupted run, "
            "or init_from= to start a new run from a checkpoint file"
        )
    if resume.resolve() != run_dir.resolve():
        raise Refused(
            f"resume={resume} goes on in that directory, but this run would go to {run_dir}; leave out "
            "hydra.run.dir, and of a sweep repeat the same command without resume"
        )
