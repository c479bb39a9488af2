"""The jobs of a sweep as processes of their own, whoever starts them: their words, directories, and what they found."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mae_hydra.configuration.command_words import word
from mae_hydra.configuration.job_names import slug
from mae_hydra.configuration.own_options import words_for_another_process
from mae_hydra.configuration.tree import config_dir
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.read_runs import read_run
from mae_hydra.experiment.status import read_status
from mae_hydra.launching.trials import COMPLETE, found_in

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
        known = sweeps.outcomes.get(self.name)  # of a directory that holds another run the value is not this job's
        state, value, _ = found_in(self.directory, list(self.config.get("then", ())))
        result = JobReturn(overrides=self.overrides, cfg=OmegaConf.create({}), status=JobStatus.COMPLETED)
        result.return_value = value if state == COMPLETE and not (known and known.failed) else None
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
        HydraConfig.instance().set_config(job.config)
        if job.config.resume == "never":
            return False
        if states[0] == "pruned":  # by other callbacks it may go on, on a device
            run = read_run(job.directory)
            if run is None or run.config.get("callbacks") != OmegaConf.to_container(job.config.callbacks, resolve=True):
                return False
        elif set(states) != {"completed"}:
            return False
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
        config, directory = composed(self.context, self.config, overrides, number)
        return SweepJob(number, overrides, directory, config)


def composed(
    context: HydraContext, master: DictConfig, overrides: Sequence[str], number: int
) -> tuple[DictConfig, Path]:
    """The configuration of a job of a sweep, and its directory."""
    config = context.config_loader.load_sweep_config(master, list(overrides))
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = f"{Path(config.hydra.sweep.dir).name}_{number}", number
    HydraConfig.instance().set_config(config)  # the name of the directory follows from it
    return config, Path(config.hydra.sweep.dir) / str(config.hydra.sweep.subdir)


def register(*plugins: type[Launcher] | type[Sweeper]) -> None:
    """Make launchers and sweepers known to Hydra, in a module of the name HOME that is in no file."""
    module: Any = ModuleType(HOME)
    parent, _, name = HOME.rpartition(".")
    try:
        package = importlib.import_module(parent)
    except ImportError:  # no plugin is installed
        package = sys.modules[parent] = ModuleType(parent)
        package.__path__ = []
    setattr(package, name, module)
    sys.modules[HOME] = module
    for plugin in plugins:
        setattr(module, plugin.__name__, plugin)
        Plugins.instance().register(plugin)
    _take_the_place_of_hydras_own()


def _take_the_place_of_hydras_own() -> None:
    """`hydra/sweeper=basic`, which is the default, and `optuna`, where that is installed, are the sweepers of ours.

    A file of that name would be merged into the plugin's own configuration, with a warning.
    """
    options: dict[str, Any] = {"basic": {"_target_": f"{HOME}.Grid", "max_batch_size": None, "params": None}}
    if find_spec("hydra_plugins.hydra_optuna_sweeper") is not None:
        options["optuna"] = OmegaConf.load(config_dir() / "hydra/sweeper/search.yaml")
    for name, node in options.items():
        ConfigStore.instance().store(group="hydra/sweeper", name=name, node=node, provider="mae_hydra")


def last_line(*files: Path) -> str:
    """What a job said last, in the first of the files that says anything."""
    for file in files:
        lines = file.read_text(errors="replace").split("\n") if file.is_file() else []
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return said[-1]
    return ""


def jobs_in_words(number: int) -> str:
    """How many jobs they are, as a sentence has it."""
    return "1 job" if number == 1 else f"{number} jobs"
