"""`hydra/sweeper=optuna`: a search by Optuna whose study lies in the sweep's directory.

Optuna's own sweeper for Hydra asks and tells as this one does, but begins anew with every command, minimizes what it is
not told to maximize, knows no pruned trial, and its databases need an SQLAlchemy before 2.0. Its samplers, its
configuration and its reading of `interval(…)` and `choice(…)` are used here.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from mae_hydra.configuration.job_names import unnamed
from mae_hydra.errors import UserError, short
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.holder import holding
from mae_hydra.experiment.status import computed, read_status
from mae_hydra.launching.look_ahead import check_jobs
from mae_hydra.launching.sweep_jobs import HOME, composed
from mae_hydra.launching.trials import (
    COMPLETE,
    FAILED,
    FILE,
    PRUNED,
    RUNNING,
    Study,
    Trial,
    found_in,
    read_study,
    words_of,
)

DIRECTIONS = {"max": "maximize", "min": "minimize"}


class Search(Sweeper):
    """Asks for `n_trials` trials in all, `n_jobs` at a time, and tells Optuna what each found, also which was pruned.

    What a search that ended early had asked for comes first when it goes on: those jobs go on in their directories.
    """

    __module__ = HOME

    def __init__(
        self,
        *,
        sampler: DictConfig,
        direction: str | None,
        study_name: str | None,
        storage: str | None,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        params: DictConfig | None,
    ) -> None:
        self.sampler, self.direction, self.study_name, self.storage = sampler, direction, study_name, storage
        self.n_trials, self.n_jobs, self.max_failure_rate = n_trials, n_jobs, max_failure_rate
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.master = hydra_context, config
        self.starter = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        if "GridSampler" in str(self.sampler._target_):
            raise UserError("a grid needs no search: leave out hydra/sweeper=, and give the values as key=a,b,c")
        if OmegaConf.select(self.master, "sweep.zip"):
            raise UserError("sweep.zip goes over a grid, and a search (hydra/sweeper=optuna) has none; leave one out")
        if self.n_jobs < 1 or self.n_trials < 1:
            raise UserError("hydra.sweeper.n_jobs and hydra.sweeper.n_trials are numbers from 1")
        directory = Path(str(self.master.hydra.sweep.dir))
        study, self.distributions = self._asked_for(arguments)
        check_jobs(self.context, self.master, self._examples(study))
        study.computes = self._computes(study)
        directory.mkdir(parents=True, exist_ok=True)
        with holding(directory):  # of two searches in one directory the second is refused
            OmegaConf.save(self.master, directory / "multirun.yaml")
            self._search(self._going_on(study, directory), directory)

    def _asked_for(self, arguments: Sequence[str]) -> tuple[Study, dict[str, Any]]:
        """What is typed, as a study without trials, and the distributions of what is searched."""
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        words = [*words_of(self.params), *arguments]
        typed = {each.get_key_element(): each for each in parser.parse_overrides(words)}  # the last of a key counts
        swept = {key: each for key, each in typed.items() if each.is_sweep_override()}
        if not swept:
            raise UserError(
                "a search needs something to search: 'optimizer.lr=tag(log, interval(1e-4, 1e-2))', seed=0,1,2"
            )
        fixed = [str(each.input_line) for key, each in typed.items() if key not in swept]
        space = {key: str(each.input_line).partition("=")[2] for key, each in swept.items()}
        logging.getLogger("alembic").setLevel(logging.WARNING)  # which says what it sets up for databases
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override

            try:
                distributions = {key: create_optuna_distribution_from_override(each) for key, each in swept.items()}
            except (ValueError, AssertionError, NotImplementedError, TypeError) as error:
                raise UserError(f"what is searched has no values to choose from: {short(error)}") from error
        return Study(self._direction(), str(self.master.checkpoint.monitor), space, fixed), distributions

    def _direction(self) -> str:
        """As the monitored metric has it, which nobody has to say again, nor can say otherwise."""
        own, said = DIRECTIONS[self.master.checkpoint.mode], self.direction
        if self.master.then and said not in DIRECTIONS.values():
            raise UserError(
                "what follows a run (then) is what this search goes by; say which way: hydra.sweeper.direction=maximize"
            )
        if said not in (None, *DIRECTIONS.values()):
            raise UserError(f"hydra.sweeper.direction is maximize, minimize or null, got {said}")
        if said not in (None, own) and not self.master.then:
            raise UserError(
                f"hydra.sweeper.direction={said}, but {self.master.checkpoint.monitor} is better where it is "
                f"{'larger' if own == 'maximize' else 'smaller'}; leave hydra.sweeper.direction out"
            )
        return str(said or own)

    def _examples(self, study: Study) -> list[list[str]]:
        """The words of some trials, in which every choice and both ends of every interval occur."""
        values = {
            key: getattr(each, "choices", None) or (each.low, each.high) for key, each in self.distributions.items()
        }
        first = {key: each[0] for key, each in values.items()}
        others = [first | {key: value} for key, each in values.items() for value in each[1:]]
        return [[*words_of(params), *study.fixed] for params in (first, *others)]

    def _computes(self, study: Study) -> dict[str, str]:
        """What an example of a trial trains and scores: option files and unnamed words may change it, too."""
        example = composed(self.context, self.master, self._examples(study)[0], 0)[0]
        with open_dict(example):
            del example["hydra"]
        plain: Any = OmegaConf.to_container(example, resolve=True)
        followed = {f"then.{name}": words for name, words in plain["then"].items()}
        return {key: str(value) for key, value in (computed(plain) | followed).items()}

    def _going_on(self, asked: Study, directory: Path) -> Study:
        """The study that the directory holds, with what its jobs have found since; UserError of another one."""
        there = read_study(directory)
        if there is None:
            return asked
        before, now = (
            study.head | {"fixed": sorted(word for word in study.fixed if not unnamed(word))}
            for study in (there, asked)
        )
        if there.computes:
            keys = sorted(key for key in {*there.computes, *asked.computes} if key not in self.distributions)
            before |= {key: there.computes.get(key) for key in keys}
            now |= {key: asked.computes.get(key) for key in keys}
        differing = [name for name in now if before[name] != now[name]]
        if differing:
            told = "; ".join(f"{name}: {before[name]} -> {now[name]}" for name in differing)
            raise UserError(
                f"{directory} holds another search ({told}), whose values do not compare; name this one otherwise: "
                "hydra.sweeper.study_name=<name>"
            )
        if not all(self._is_of_the_space(trial.params) for trial in there.trials):
            raise UserError(f"{directory / FILE} holds trials of another search space; get it again, or remove it")
        asked.trials = there.trials
        for trial in asked.trials:
            self._look_again(trial, directory)
        return asked

    def _is_of_the_space(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial of a file could have been asked for: its values become words, trusted like typed ones."""
        if params.keys() != self.distributions.keys():
            return False
        try:
            return all(each._contains(each.to_internal_repr(params[key])) for key, each in self.distributions.items())
        except (TypeError, ValueError):
            return False

    def _look_again(self, trial: Trial, directory: Path) -> None:
        """What has become of a trial since: removed or interrupted it is run again, gone on with by hand it counts."""
        there = directory / trial.job
        if trial.state == PRUNED:
            state, value, steps = found_in(there, list(self.master.then))
            if state == COMPLETE:
                trial.state, trial.value, trial.steps = state, value, steps
        elif trial.state == FAILED:
            status = read_status(there)
            if status is None or status["state"] == "interrupted":
                trial.state, trial.value, trial.steps = RUNNING, None, []

    def _look(self, trial: Trial, directory: Path) -> None:
        """What became of a job that has just been run."""
        known = sweeps.outcomes.get(trial.job)  # of a directory that holds another run the value is not this job's
        trial.state, trial.value, trial.steps = found_in(directory / trial.job, list(self.master.then))
        if known is not None and known.failed:
            trial.state, trial.value = FAILED, None

    def _search(self, study: Study, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Optuna: experimental, deprecated
            optuna_study, unfinished = self._told(study)
            if study.trials:
                states = [trial.state for trial in study.trials]
                told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
                print(f"goes on with {len(states)} of {self.n_trials} trials in {directory}: {told}", flush=True)
            while unfinished or len(study.trials) < self.n_trials:
                pairs = unfinished or self._ask(study, optuna_study)
                unfinished = []
                study.write(directory)
                self._launch([trial for _, trial in pairs], study)
                for handle, trial in pairs:
                    self._look(trial, directory)
                    _tell(optuna_study, handle, trial)
                study.write(directory)
                failed = sum(trial.state == FAILED for _, trial in pairs)
                if failed / len(pairs) > self.max_failure_rate:
                    raise UserError(
                        f"{failed} of {len(pairs)} trials failed, more than hydra.sweeper.max_failure_rate="
                        f"{self.max_failure_rate} allows; the table says why"
                    )
        best = study.best
        if best is None:
            raise UserError("the search has no best trial to name: none is complete; the table has them all")
        found = {"name": "optuna", "best_params": best.params, "best_value": best.value}
        OmegaConf.save(OmegaConf.create(found), directory / "optimization_results.yaml")
        score = f"value of {list(self.master.then)[-1]}" if self.master.then else study.monitor
        print(f"best {score} {best.value:.4g} of {len(study.trials)} trials: {' '.join(words_of(best.params))}")

    def _ask(self, study: Study, optuna_study: Any) -> list[tuple[Any, Trial]]:
        count = min(self.n_jobs, self.n_trials - len(study.trials))
        batch = study.trials[-1].batch + 1 if study.trials else 0
        pairs = []
        for handle in self._asked(optuna_study, count):
            number, words = len(study.trials), [*words_of(handle.params), *study.fixed]
            job = composed(self.context, self.master, words, number)[1].name
            trial = Trial(number, batch, dict(handle.params), job)
            study.trials.append(trial)
            pairs.append((handle, trial))
        return pairs

    def _asked(self, optuna_study: Any, count: int) -> list[Any]:
        handles = [optuna_study.ask() for _ in range(count)]
        for handle in handles:
            for key, distribution in self.distributions.items():
                handle._suggest(key, distribution)
        return handles

    def _launch(self, trials: Sequence[Trial], study: Study) -> None:
        for trial in trials:
            sweeps.outcomes.pop(trial.job, None)  # of an earlier try
        once = {trial.job: trial for trial in reversed(trials)}  # two trials of the same values are one job
        words = [[*words_of(trial.params), *study.fixed] for trial in reversed(once.values())]
        self.starter.launch(words, initial_job_idx=min(trial.number for trial in trials))

    def _told(self, study: Study) -> tuple[Any, list[tuple[Any, Trial]]]:
        """Optuna's study, told what the trials found, and those that are still to be run.

        A sampler that has a seed is asked for the same trials once more: so it stands where it stood, and the search
        goes on as if it had never ended. If it asks for others, it is told of the trials alone, and its seed moved on.
        """
        if self.storage is None and study.trials:
            replayed = self._replayed(study)
            if replayed is not None:
                return replayed
        made = self._study(study, seeds_on=len(study.trials))
        unfinished = [trial for trial in study.trials if trial.state == RUNNING]
        if self.storage is None:
            for trial in study.trials:
                if trial.state != RUNNING:
                    made.add_trial(self._frozen(trial))
        for trial in unfinished:
            made.enqueue_trial(trial.params)
        pairs = list(zip(self._asked(made, len(unfinished)), unfinished, strict=True))
        if any(handle.params != trial.params for handle, trial in pairs):  # a storage that others use as well
            raise UserError("the storage gave other trials than were asked for: another search uses it; start again")
        return made, pairs

    def _replayed(self, study: Study) -> tuple[Any, list[tuple[Any, Trial]]] | None:
        made = self._study(study, seeds_on=0)
        unfinished = []
        for batch in dict.fromkeys(trial.batch for trial in study.trials):
            trials = [trial for trial in study.trials if trial.batch == batch]
            pairs = list(zip(self._asked(made, len(trials)), trials, strict=True))
            if any(handle.params != trial.params for handle, trial in pairs):
                return None
            for handle, trial in pairs:
                if trial.state == RUNNING:
                    unfinished.append((handle, trial))
                else:
                    _tell(made, handle, trial)
        return made, unfinished

    def _study(self, study: Study, seeds_on: int) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = OmegaConf.to_container(self.sampler, resolve=True)
        assert isinstance(sampler, dict)
        if sampler.get("seed") is not None:
            sampler["seed"] += seeds_on
        name = self.study_name or Path(str(self.master.hydra.sweep.dir)).name
        try:
            made = optuna.create_study(
                study_name=name,
                storage=self.storage,
                sampler=instantiate(sampler),
                direction=study.direction,
                load_if_exists=True,
            )
        except Exception as error:  # of a database, a driver, a version
            if self.storage is None:
                raise
            raise UserError(
                f"hydra.sweeper.storage={self.storage} cannot be used ({type(error).__name__}: {short(error)}); Optuna "
                f"{optuna.__version__} wants SQLAlchemy before 2.0 for a database. Without it the study is kept in the "
                "sweep's directory"
            ) from error
        if made.direction.name.lower() != study.direction:
            raise UserError(f"the study {name} in {self.storage} goes the other way; give another study_name")
        return made

    def _frozen(self, trial: Trial) -> Any:
        import optuna

        value = trial.value if trial.state == COMPLETE else trial.steps[-1][1] if trial.steps else None
        return optuna.trial.create_trial(
            state=_states()[trial.state],
            value=None if trial.state == FAILED else value,
            params=trial.params,
            distributions=self.distributions,
            intermediate_values=dict(trial.steps),
        )


def _states() -> dict[str, Any]:
    from optuna.trial import TrialState

    return {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}


def _tell(study: Any, handle: Any, trial: Trial) -> None:
    for step, value in trial.steps:
        handle.report(value, step)
    study.tell(handle, trial.value if trial.state == COMPLETE else None, state=_states()[trial.state])
