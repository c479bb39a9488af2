"""What follows a run, started from its weights: `then` in the configuration, name -> overrides.

Each stage is an ordinary run in a process of its own and in a directory of that name below the run it follows. So a
sweep over a key of pre-training can end in what matters, the scores after the transfer.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.configuration.check import check
from mae_hydra.configuration.command_words import key_of, readable, split, word
from mae_hydra.configuration.from_file import check_overrides, of_hydra
from mae_hydra.configuration.hydra_errors import explain
from mae_hydra.configuration.key_meaning import meaning_of
from mae_hydra.configuration.own_options import looking_where, words_for_another_process
from mae_hydra.configuration.whole_nodes import addable, take_whole_nodes
from mae_hydra.distributed import world_size
from mae_hydra.errors import UserError
from mae_hydra.experiment import resuming
from mae_hydra.experiment.status import read_status
from mae_hydra.launching.scheduler import pass_on
from mae_hydra.parent import end_with
from mae_hydra.signals import handing_on_signals


class StageStopped(Exception):
    """A stage was interrupted; `exit_code` is its own."""

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(f"stage {name} was interrupted")
        self.exit_code = exit_code


def check_stages(stages: Mapping[str, Any], typed: Sequence[str] = (), run_dir: Path | None = None) -> None:
    """Before the first run is trained: what cannot be followed should not be begun.

    Each stage is composed with what it inherits of the words `typed` for the run, and checked, unless `run_dir` holds
    it complete. Words that a file recorded are not: the run that is gone on with was checked when they were typed.
    """
    for name, overrides in stages.items():
        if not isinstance(overrides, Sequence) or isinstance(overrides, str):
            raise UserError(f"then.{name} must be a list of overrides, as they are typed, got {overrides!r}")
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(f"then.{name} names a directory: letters, digits, . _ -")
        for text in map(str, overrides):
            if text.startswith("-") or of_hydra(text):
                what = "is about Hydra itself" if of_hydra(text) else "is an option"
                raise UserError(f"then.{name} holds overrides of the configuration alone ({text} {what})")
        if resuming.source is not None and not resuming.typed_for("then"):
            check_overrides([str(text) for text in overrides], f"{resuming.source}: then.{name}")
    if stages and world_size() > 1:
        raise UserError("what follows a run (then) starts processes of its own: use engine.devices instead of torchrun")
    for name, overrides in stages.items() if resuming.source is None else ():
        status = None if run_dir is None else read_status(run_dir / name)
        if status is None or status["state"] != "completed":
            try:
                _check_composed((*words_for_another_process(), *_words_of(overrides, typed)))
            except UserError as error:
                raise UserError(f"then.{name}: {error}") from error


@cache
def _check_composed(words: tuple[str, ...]) -> None:
    """UserError where a command line composes nothing that could be trained; one for many jobs is composed once."""
    options, overrides = split(words)
    overrides = addable(readable(overrides))
    with looking_where(options) as name:
        try:
            config = compose(name, overrides=overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, words)) from error
    OmegaConf.update(config, "paths.run_dir", ".")  # the one value that only a job has
    take_whole_nodes(config, overrides)
    check(config)


def _words_of(overrides: Sequence[Any], typed: Sequence[str]) -> list[str]:
    """The words of a stage: its own, and those typed for the run that hold for what follows, too."""
    return [*map(str, overrides), *(word for word in typed if meaning_of(key_of(word)).inherited)]


def run_stages(stages: Mapping[str, Any], run_dir: Path, value: float, typed: Sequence[str]) -> float:
    """Run what is missing of `stages`, in their order; the value of the last one, or `value` where there is none.

    Of what was `typed` for the run, where and how it happens holds for what follows too (see `key_meaning`). A stage
    that fails is a UserError; the run it follows stays complete.
    """
    for name, overrides in stages.items():
        directory = run_dir / name
        status = read_status(directory)
        if status is None or status["state"] != "completed":
            _run(name, [*_words_of(overrides, typed), word("init_from", run_dir.absolute())], directory)
            status = read_status(directory)
        assert status is not None
        value = float("nan") if status["value"] is None else float(status["value"])
    return value


def _run(name: str, overrides: list[str], directory: Path) -> None:
    words = [*words_for_another_process(), *overrides, word("hydra.run.dir", directory.absolute())]
    print(f"{name}: python train.py {shlex.join(words)}", flush=True)
    command = [sys.executable, "-m", "mae_hydra", "train", *words]
    mark = {} if resuming.typed_for("then") else resuming.handed_on(words)
    code, asked = run_apart(command, mark) if mark else run_apart(command)
    if code in (75, 130):
        pass_on(asked)
        raise KeyboardInterrupt from StageStopped(name, code)
    if code != 0:
        status = read_status(directory)
        error = status["error"] if status is not None and status["error"] else f"exit code {code}"
        raise UserError(f"stage {name} failed: {error} (see {directory})")


def run_apart(command: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})) -> tuple[int, int | None]:
    """Run `command` to its end; its exit code, and the last signal that came here meanwhile and was handed on to it.

    `environment` is added to this process's own.

    It has a session of its own: a terminal's Ctrl-C comes once, through us, and it has all the time that saving takes.
    """
    started: list[subprocess.Popen[bytes]] = []
    with handing_on_signals(started) as got:  # first: a signal may come before the process does
        process = subprocess.Popen(
            command,
            start_new_session=True,
            preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),  # it saves and ends where this one is killed
            env=os.environ | dict(environment),
        )
        early = list(got)
        started.append(process)
        for number in early:
            process.send_signal(number)
        code = process.wait()
    return code, got[-1] if got else None
