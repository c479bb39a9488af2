"""Any step of a run again, to the last bit: from the checkpoint before it and the integers that fix its randomness.

`replay` finds out what the step was computed with and by how many processes; `replay_step` takes it again;
`replay_report` writes down and shows what was found.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from mae_hydra.configuration.check import check
from mae_hydra.configuration.command_words import key_of, readable
from mae_hydra.configuration.from_file import literal
from mae_hydra.configuration.hydra_errors import explain, unknown_key
from mae_hydra.configuration.key_meaning import Decides, flatten, meaning_of
from mae_hydra.distributed import is_main, world_size
from mae_hydra.errors import UserError
from mae_hydra.experiment.processes import run_in_processes
from mae_hydra.experiment.resuming import refuse_foreign
from mae_hydra.experiment.same_run import read_told, recorded_config, same_weights, saved_steps
from mae_hydra.experiment.steps_taken import metrics_of, processes_of, start_of
from mae_hydra.workflows.replay_step import take_again

STEP = re.compile(r"step=(\d+)")


class Beginning(NamedTuple):
    """What a replay begins from: a checkpoint after `step` finished steps, or (None, 0) the initial weights."""

    checkpoint: Path | None
    step: int
    config: Mapping[str, Any]


def replay(run_dir: Path, words: Sequence[str]) -> Path:
    """Take a step of the run in `run_dir` again; the folder that holds what was found.

    `words`: `step=N`, counted from 1 as in metrics.jsonl, and keys that do not change what is trained (data.root, where
    the images have moved). UserError where the step cannot be the same: other images, another number of processes.
    """
    step, changes = _asked(words)
    beginning = _beginning(run_dir, step)
    config = _changed(beginning.config, changes, run_dir)
    start = start_of(run_dir, step) or {}
    if start.get("device") == "cpu":
        config["engine"]["device"] = "cpu"  # also where there is an accelerator now
    typed = any(key_of(word) == "init_from" for word in changes)
    begun_from = None if beginning.checkpoint is not None else config["init_from"]
    if begun_from and not same_weights(run_dir, begun_from, download=typed):
        raise UserError(
            f"step {step} is computed from the initial weights, and {config['init_from']} is not the file that the run "
            "began from; give it with init_from="
        )
    processes = processes_of(start, run_dir)
    arguments: dict[str, Any] = {
        "step": step,
        "checkpoint": None if beginning.checkpoint is None else str(beginning.checkpoint.absolute()),
        "start": start,
    }
    if world_size() > 1 and world_size() != processes:
        raise UserError(
            f"step {step} of {run_dir} was computed by {processes} process(es), and there are {world_size()}; "
            "leave torchrun out, as many are started here"
        )
    if is_main():
        _introduce(run_dir, beginning, step, processes)
    if processes > 1 and world_size() == 1:
        run_in_processes(processes, config, run_dir, replay=arguments)
    else:
        take_again(config, run_dir, **arguments)
    return run_dir / "replay" / f"step-{step}"


def _asked(words: Sequence[str]) -> tuple[int, list[str]]:
    matches = [match for word in words if (match := STEP.fullmatch(word))]
    changes = [word for word in words if not word.startswith("step=")]
    if len(matches) != 1 or len(changes) != len(words) - 1 or int(matches[0][1]) < 1:
        raise UserError("say which step: mae-hydra replay <run> step=N; the first one is step=1, as in metrics.jsonl")
    return int(matches[0][1]), changes


def _beginning(run_dir: Path, step: int) -> Beginning:
    """The newest checkpoint before `step`, else the initial weights with the configuration that the run recorded."""
    saved = {
        path: header for path in saved_steps(run_dir) if path.is_file() and (header := read_told(path)) is not None
    }
    steps = {path: int(header["step"]) for path, header in saved.items() if isinstance(header.get("step"), int)}
    earlier = {path: done for path, done in steps.items() if done < step}
    if not steps and recorded_config(run_dir) is None:
        raise UserError(
            f"{run_dir} is no run that can be replayed: there is neither a checkpoint nor config.yaml in it"
        )
    latest = max([*steps.values(), *(line["step"] for line in metrics_of(run_dir))], default=0)
    if step > latest + 1:  # the one after the last may be the one that failed
        raise UserError(f"{run_dir} has taken {latest} steps; step={step} is not one of them")
    if earlier:
        path = max(earlier, key=lambda path: earlier[path])
        return Beginning(path, earlier[path], _config_of(saved[path], run_dir))
    newest = next(iter(saved.values()), {})
    return Beginning(None, 0, _config_of(newest, run_dir))


def _config_of(header: Mapping[str, Any], run_dir: Path) -> Mapping[str, Any]:
    config = header.get("config") or recorded_config(run_dir)
    if not isinstance(config, dict) or not config:
        raise UserError(f"nothing in {run_dir} tells the configuration of that step")
    return config


def _changed(recorded: Mapping[str, Any], changes: Sequence[str], run_dir: Path) -> dict[str, Any]:
    """The recorded configuration with what may differ where it is replayed."""
    try:
        config = literal({**recorded, "resume": "auto", "then": {}})
    except ValueError as error:
        raise UserError(f"what {run_dir} tells of its configuration is none of a run: {error}") from error
    known = flatten(recorded)
    for word in readable(changes):
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            raise UserError(explain(error, changes)) from error
        key = str(override.key_or_group).replace("/", ".")
        if key not in known:
            raise UserError(unknown_key(key, changes))
        if meaning_of(key).decides is Decides.WEIGHTS and key != "init_from":
            raise UserError(f"{key} decides what is trained: with another value it would be another step")
        OmegaConf.update(config, key, override.value())
    refuse_foreign(config, run_dir, changes)
    check(config)
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def _introduce(run_dir: Path, beginning: Beginning, step: int, processes: int) -> None:
    where = "the initial weights" if beginning.checkpoint is None else beginning.checkpoint.name
    ahead = step - 1 - beginning.step
    computed = f", after {ahead} step{'s' if ahead > 1 else ''} computed again" if ahead else ""
    several = f", by {processes} processes" if processes > 1 else ""
    print(f"step {step} of {run_dir}, from {where}{computed}{several}", flush=True)
