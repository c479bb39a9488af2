"""One job: the run directory, its status, and every way in which it can end."""

import json
import logging
import math
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mae_hydra import atomic
from mae_hydra.distributed import is_main
from mae_hydra.engine import Interrupted
from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.check import check
from mae_hydra.experiment.gpus_launcher import OF_A_SWEEP
from mae_hydra.experiment.processes import num_processes, run_in_processes
from mae_hydra.experiment.provenance import changed_code, write_provenance
from mae_hydra.experiment.run import discard_empty, run
from mae_hydra.experiment.scheduler import join_tasks, pass_on
from mae_hydra.experiment.stages import check_stages, run_stages
from mae_hydra.experiment.status import Status, differences, fingerprint, read_status
from mae_hydra.names import harmless

log = logging.getLogger("mae_hydra")


WRITTEN = ("config.yaml", "environment.json", "git.json", "git.diff", "metrics.jsonl", "results.json", "error.txt")


class Refused(UserError):
    """The directory belongs to another run, which stays as it is."""


def run_job(config: DictConfig) -> float:
    """Train what `config` describes; returns the monitored metric (nan for a failed job of a sweep).

    In a single run errors propagate. In a sweep a failed job is recorded (`status.json`, `error.txt`, the table)
    and the next one starts, unless `fail_fast`.
    """
    hydra_config = HydraConfig.get()
    in_sweep = hydra_config.mode == RunMode.MULTIRUN or OF_A_SWEEP in os.environ
    run_dir = Path(hydra_config.runtime.output_dir)
    overrides = list(hydra_config.overrides.task)
    if hydra_config.sweeper.params and not in_sweep:
        discard_empty(run_dir)
        swept = ", ".join(hydra_config.sweeper.params)
        raise UserError(f"this configuration sweeps over {swept}; add -m: python train.py -m {' '.join(overrides)}")

    join_tasks()
    status = None
    try:
        if is_main():
            _refuse_foreign(run_dir)
        check(config)
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
        check_stages(plain["then"])
        finished = _look_back(run_dir, plain)
        if finished is not None:
            return run_stages(plain["then"], run_dir, finished, overrides)
        if not is_main():  # of several processes the first one keeps the directory
            return run(config, plain, run_dir)
        status = Status(run_dir, plain, overrides)
        atomic.write_text(run_dir / "config.yaml", yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
        atomic.write_text(run_dir / "overrides.yaml", yaml.safe_dump(overrides))
        write_provenance(run_dir)
        (run_dir / "error.txt").unlink(missing_ok=True)  # of an earlier attempt
        processes = num_processes(plain["engine"])
        value = run(config, plain, run_dir) if processes == 1 else run_in_processes(processes, plain, run_dir)
        _finish(status, "completed", value=value)
        status = None  # it stays complete, whatever becomes of what follows
        return run_stages(plain["then"], run_dir, value, overrides)
    except Interrupted as interruption:
        log.warning("%s", interruption)
        if status is not None:
            _finish(status, "interrupted", error=str(interruption))
        if is_main():
            again = "the same command" if in_sweep else f"the same command with resume={run_dir}"
            print(f"{interruption}. To go on: {again}", file=sys.stderr)
        pass_on(interruption.signal)
        raise KeyboardInterrupt from interruption  # ends a sweep too
    except KeyboardInterrupt:
        if status is not None:
            _finish(status, "interrupted", error="stopped before the state could be saved")
        raise
    except BaseException as error:
        log.error("%s", error, exc_info=not isinstance(error, UserError))
        if status is None and is_main() and not isinstance(error, Refused) and read_status(run_dir) is None:
            with suppress(OSError):  # what has failed is said below, and may be just this
                status = Status(run_dir, {"name": config.get("name"), "task": config.get("task")}, overrides)
        if status is not None:  # otherwise the directory belongs to an earlier run, which stays as it is
            with suppress(OSError):
                atomic.write_text(run_dir / "error.txt", traceback.format_exc())
            _finish(status, "failed", error=f"{type(error).__name__}: {error}".splitlines()[0])
        if not in_sweep:
            raise
        if OF_A_SWEEP in os.environ:
            raise  # the process that runs the sweep goes on
        sweeps.failures[run_dir.name] = str(error)
        if isinstance(error, Refused):
            sweeps.refused.add(run_dir.name)
        print(f"job {run_dir.name} failed: {harmless(error)}", file=sys.stderr)
        if config.fail_fast:
            raise sweeps.SweepStopped from error
        return math.nan


def _refuse_foreign(run_dir: Path) -> None:
    """Refused where the directory holds files under the names of ours that no run has written."""
    if any((run_dir / name).exists() for name in ("status.json", "overrides.yaml", "checkpoints")):
        return
    for name in WRITTEN:
        if (run_dir / name).exists():
            raise Refused(f"{run_dir} holds {name} and is no run; name another directory with hydra.run.dir")


def _finish(status: Status, state: str, value: float | None = None, error: str | None = None) -> None:
    """Write down how the run ended, also where there is no room for a second file: then over the old one."""
    try:
        status.finish(state, value, error)
    except OSError:
        try:
            with open(status.path, "r+") as file:
                json.dump(status.content, file, default=str)
                file.truncate()
        except OSError as refused:
            print(f"warning: {status.path} does not say that this run is {state} ({refused.strerror})", file=sys.stderr)


def _look_back(run_dir: Path, config: dict[str, Any]) -> float | None:
    """Compare with an earlier attempt in the same directory: its value if it is complete, None if there is work."""
    resume = config["resume"]
    if resume not in (None, "auto", "never"):
        if not list(Path(resume).glob("checkpoints/*.pt")):
            raise Refused(
                f"resume={resume}: no checkpoints/last.pt there; give the directory of an interrupted run, "
                "or init_from= to start a new run from a checkpoint file"
            )
        if Path(resume).resolve() != run_dir.resolve():
            raise Refused(
                f"resume={resume} goes on in that directory, but this run would go to {run_dir}; leave out "
                "hydra.run.dir, and of a sweep repeat the same command without resume"
            )
    previous = read_status(run_dir)
    if previous is not None and previous["state"] == "running" and is_main():
        raise Refused(
            f"{run_dir} is being trained by process {previous['pid']} on {previous['host']}; wait for it or stop it "
            "(if that machine is gone, remove status.json and start again)"
        )
    if previous is None or resume == "never":
        return None
    old_config = yaml.safe_load((run_dir / "config.yaml").read_text()) if (run_dir / "config.yaml").is_file() else None
    # Else there is nothing to mix up: a mistake was mended.
    has_trained = previous["state"] == "completed" or any(run_dir.glob("checkpoints/*.pt"))
    if old_config is not None and has_trained and previous.get("fingerprint") != fingerprint(config):
        changed = differences(old_config, config)
        raise Refused(
            f"{run_dir} holds a run of another configuration ({'; '.join(changed[:5])}"
            f"{' …' if len(changed) > 5 else ''}); use the same command line, or start a new run"
        )
    if previous["state"] == "completed":
        change = changed_code(run_dir)
        note = "" if change is None else f"; the code has changed since ({change}), resume=never trains it anew"
        message = f"{run_dir.name} is already complete (value {previous['value']}); nothing to do{note}"
        log.info(message)
        print(message)
        return float("nan") if previous["value"] is None else float(previous["value"])
    return None
