"""`python train.py`: Hydra's command line around one job, or around a sweep of jobs."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.errors import UserError
from mae_hydra.experiment import resolvers, sweeps
from mae_hydra.experiment.compose import config_dir
from mae_hydra.experiment.mistakes import explain

raised: list[Exception] = []  # what ended the job of a single run
FAILED, RESUME_ME = 1, 75  # 75 is EX_TEMPFAIL: start the same command again


def launch(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; the exit code: 0, 1 (something failed) or 75 (interrupted, can be resumed)."""
    resolvers.register()
    # Hydra would print and swallow errors; they come to us instead and are said in one sentence.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    if arguments is not None:
        sys.argv = [sys.argv[0], *arguments]
    sweeps.failures.clear()
    entry = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(_job)
    raised.clear()
    try:
        entry()
        if raised:
            raise raised.pop()
    except UserError as error:
        return _say(str(error))
    except KeyboardInterrupt:
        return RESUME_ME
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, UserError):
            return _say(str(error.__cause__))
        return _say(explain(error, [a for a in sys.argv[1:] if "=" in a]))
    return FAILED if sweeps.failures else 0


def _job(config: DictConfig) -> Any:
    from mae_hydra.experiment.job import run_job  # torch is imported only now: `--cfg job` answers at once

    try:
        return run_job(config)
    except Exception as error:
        raised.append(error)  # from here on Hydra would add its own words to it
        return None


def _say(sentence: str) -> int:
    if os.environ.get("RANK", "0") == "0":  # several processes make the same mistake together
        print(f"error: {sentence}", file=sys.stderr)
    return FAILED
