"""`python train.py`: Hydra's command line around one job, or around a sweep of jobs."""

import difflib
import logging
import math
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.configuration import hydras_own, reference, resolvers
from mae_hydra.configuration.command_words import readable, values
from mae_hydra.configuration.hydra_errors import explain
from mae_hydra.configuration.job_names import unnamed
from mae_hydra.configuration.own_options import options_first
from mae_hydra.configuration.tree import config_dir
from mae_hydra.configuration.whole_nodes import addable
from mae_hydra.errors import UserError, unwritable
from mae_hydra.experiment import resuming, sweeps
from mae_hydra.installed import versions
from mae_hydra.launching import scheduler
from mae_hydra.launching.gpus_launcher import GpusLauncher
from mae_hydra.launching.grid import Grid
from mae_hydra.launching.importing import importing
from mae_hydra.launching.search import Search
from mae_hydra.launching.slurm_launcher import SlurmLauncher
from mae_hydra.launching.sweep_jobs import register
from mae_hydra.terminal import lasting_streams, say_error

FAILED, STOPPED = 1, 130
raised: list[Exception] = []  # what ended the job of a single run


def launch(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says, and give the exit code.

    0: done. 1: something failed. 75: interrupted with its state saved, start the same command again. 130: stopped
    before there was a state to save.
    """
    with lasting_streams():
        words = sys.argv[1:] if arguments is None else arguments
        return _help(words) if {"--help", "-h"} & set(words) else _launch(arguments)


def _launch(arguments: Sequence[str] | None) -> int:
    if "--version" in (sys.argv[1:] if arguments is None else arguments):
        print(versions())  # Hydra would tell its own
        return 0
    resolvers.register()
    hydras_own.guard()
    logging.raiseExceptions = False  # a full disk would print a traceback for every line of train.log
    # Hydra would print and swallow errors; they come to us instead and are said in one sentence.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    if arguments is not None:
        sys.argv = [sys.argv[0], *arguments]
    sweeps.start()
    raised.clear()
    register(GpusLauncher, SlurmLauncher, Grid, Search)
    entry = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(_job)
    overrides: list[str] = []
    try:
        scheduler.heed()
        sys.argv[1:] = addable(resuming.expanded(options_first(readable(sys.argv[1:]))))
        overrides = [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]
        if {"-m", "--multirun"} & set(sys.argv):
            _refuse_unnamed_sweeps(overrides)
        entry()
        if raised:
            raise raised.pop()
    except UserError as error:
        return _say(str(error))
    except KeyboardInterrupt as stop:
        code: int = getattr(stop.__cause__, "exit_code", STOPPED)
        if code == STOPPED:
            print("stopped before there was a state to save", file=sys.stderr)
        scheduler.pass_on(stop.args[0] if stop.args else None)
        return code
    except sweeps.SweepStopped:
        return FAILED
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UserError):
            return _say(str(error.__cause__))
        return _say(explain(error, sys.argv[1:]))
    except Exception as error:
        sentence = unwritable(error, "name another place with paths.output_root=<folder>")
        if sentence is not None:
            return _say(sentence)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        if "submitit" not in Path(frame.filename).parts:
            raise
        return _say(f"submitit: {_reason(error)}; the same command goes on from what there is")
    finally:
        failed = sweeps.finish()
    return FAILED if failed else 0


HELP = """usage: python train.py [group=option …] [key=value …] [+experiment=… +debug=…] [-m +sweep=… key=a,b,c]

  python train.py model=upernet_vitt     a model chooses its parts (backbone, head, …); what is typed overrides them
  python train.py model=… --cfg job      what would run, in under a second
  python train.py --help data engine     everything that the options of these groups say, with their keys
  python train.py --help data=camvid     the same of one option
  python train.py --hydra-help           Hydra's own options (--config-dir, --multirun, --info)
"""


def _help(words: Sequence[str]) -> int:
    known = reference.options(reference.own_folders(words))
    folders = values(words, "--config-dir", "-cd")
    begin = next(number for number, word in enumerate(words) if word in ("--help", "-h"))
    asked = [word for word in words if not word.startswith("-") and "=" not in word and word not in folders]
    asked += [word.lstrip("+") for word in words[begin:] if "=" in word and not word.startswith("-")]
    every = {f"{group}={each.name}" for group, there in known.items() for each in there}
    for word in asked:
        if word not in known and word not in every:
            close = difflib.get_close_matches(word, [*known, *every], n=1)
            hint = f"did you mean {close[0]}?" if close else f"groups: {', '.join(known)}"
            return _say(f"--help {word} is no {'option' if '=' in word else 'group of options'}; {hint}")
    width = shutil.get_terminal_size(fallback=(120, 24)).columns
    said = [reference.details(group, known) for group in asked] or [HELP, reference.overview(width, known)]
    print("\n\n".join(said) if asked else "\n".join(said))
    return 0


def _job(config: DictConfig) -> Any:
    with importing():  # torch comes only now: `--cfg job` answers at once
        import mae_hydra.models  # noqa: F401  # which the check of the configuration asks for
        from mae_hydra.launching.job import run_job

    try:
        value = run_job(config)
        return None if math.isnan(value) else value  # what is no number is a failed trial to a search
    except Exception as error:
        raised.append(error)  # from here on Hydra would add its own words to it
        return None


def _reason(error: Exception) -> str:
    """What submitit says of a job without a result: the state of the job is in its second line, then comes a log."""
    said = " ".join(str(error).split("\n---")[0].split())
    return said.removesuffix(" Error stream produced:")


def _refuse_unnamed_sweeps(overrides: Sequence[str]) -> None:
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group or ""
        if override.is_sweep_override() and unnamed(key) and not key.startswith("hydra"):
            raise UserError(f"a sweep over {key} would put all its jobs into one directory; run them one by one")


def _say(sentence: str) -> int:
    if os.environ.get("RANK", "0") == "0":  # several processes make the same mistake together
        say_error(sentence)
    return FAILED
