"""The jobs of a sweep as processes of their own, whoever starts them: their words, directories, and what they found."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mae_hydra.configuration.command_words import word
from mae_hydra.configuration.job_names import slug
from mae_hydra.configuration.own_options import words_for_another_process
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.status import read_status

OF_A_SWEEP = "MAE_HYDRA_JOB_OF_A_SWEEP"  # environment of a job: somebody else runs the sweep
HOME = "hydra_plugins.mae_hydra"  # Hydra takes launchers from modules of that package only; see `register`


@dataclass
class SweepJob:
    """One job: its number, the words that make it, its directory and its configuration. `title`: what is swept."""

    number: int
    overrides: list[str]
    directory: Path
    config: DictConfig
    title: str = ""

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def words(self) -> list[str]:
        """Those of `mae-hydra train` for this job alone."""
        return [*words_for_another_process(), *self.overrides, word("hydra.run.dir", self.directory.absolute())]

    @property
    def found(self) -> JobReturn:
        """What Hydra and its sweepers want to know; no value, unless the job is complete: to a search that is
        a failed trial."""
        status = read_status(self.directory)
        known = sweeps.outcomes.get(self.name)  # of a directory that holds another run the value is not this job's
        complete = status is not None and status["state"] == "completed" and not (known and known.failed)
        value = status["value"] if status is not None and complete else None
        result = JobReturn(overrides=self.overrides, cfg=OmegaConf.create({}), status=JobStatus.COMPLETED)
        result.return_value = value
        return result


class ProcessLauncher(Launcher):
    """A launcher whose jobs are processes of their own, each of them `mae-hydra train` with the words of its job."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    @property
    def sweep_dir(self) -> Path:
        return Path(str(self.config.hydra.sweep.dir))

    def jobs_of(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[SweepJob]:
        self.sweep_dir.mkdir(parents=True, exist_ok=True)
        jobs = [self._job(list(overrides), first + number) for number, overrides in enumerate(job_overrides)]
        common = set.intersection(*(set(job.overrides) for job in jobs))
        swept = set(self.config.hydra.sweeper.params or ())
        for job in jobs:
            told = [each for each in job.overrides if each not in common or each.partition("=")[0] in swept]
            job.title = slug(told, swept).rpartition("-")[0] if told else self.sweep_dir.name
        return jobs

    def tell_complete(self, job: SweepJob) -> bool:
        """Whether a job is there with all that follows it. Then the program says so, here: it takes no device."""
        stages = [job.directory / name for name in job.config.then]
        states = [(read_status(directory) or {"state": None})["state"] for directory in (job.directory, *stages)]
        if job.config.resume == "never" or set(states) != {"completed"}:
            return False
        HydraConfig.instance().set_config(job.config)
        run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=job.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return True

    def _job(self, overrides: list[str], number: int) -> SweepJob:
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = f"{self.sweep_dir.name}_{number}", number
        HydraConfig.instance().set_config(config)  # the name of the directory follows from it
        return SweepJob(number, overrides, self.sweep_dir / str(config.hydra.sweep.subdir), config)


def register(*launchers: type[Launcher]) -> None:
    """Make launchers known to Hydra, in a module of the name HOME that is in no file."""
    module: Any = ModuleType(HOME)
    parent, _, name = HOME.rpartition(".")
    try:
        package = importlib.import_module(parent)
    except ImportError:  # no plugin is installed
        package = sys.modules[parent] = ModuleType(parent)
        package.__path__ = []
    setattr(package, name, module)
    sys.modules[HOME] = module
    for launcher in launchers:
        setattr(module, launcher.__name__, launcher)
        Plugins.instance().register(launcher)
