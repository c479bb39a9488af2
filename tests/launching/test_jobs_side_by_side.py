"""Jobs side by side: at most so many at a time, each on a device of its own. None is trained."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from mae_hydra.experiment import sweeps
from mae_hydra.experiment.sweeps import SweepStopped
from mae_hydra.launching import gpus_launcher, sweep_jobs
from mae_hydra.launching.gpus_launcher import GpusLauncher
from mae_hydra.launching.grid import Grid
from mae_hydra.launching.sweep_jobs import ProcessLauncher, SweepJob
from mae_hydra.parent import end_with


class Process:
    """Stands for a job that ends with `code` when it was looked at `after` times, or when it is told to."""

    def __init__(self, job: SweepJob, after: int, code: int) -> None:
        self.job, self.left, self.code, self.got = job, after, code, list[int]()
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self.left -= 1
        if self.returncode is None and (self.left < 0 or self.got):
            self.returncode = 75 if self.got else self.code
            state = {0: "completed", 75: "interrupted"}.get(self.returncode, "failed")
            told = {
                "state": state,
                "value": self.job.number + 0.5,
                "error": "ValueError: x" if state == "failed" else None,
            }
            (self.job.directory / "status.json").write_text(json.dumps(told))
        return self.returncode

    def terminate(self) -> None:
        self.got.append(signal.SIGTERM)

    send_signal = got_signal = lambda self, number: self.got.append(number)


class Machine:
    """Starts jobs that end `after` so many looks; `started`: their names and devices, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.started, self.processes = folder, list[tuple[str, str]](), list[Process]()
        self.most = 0
        monkeypatch.setattr(gpus_launcher, "POLL", 0.0)
        monkeypatch.setattr(gpus_launcher, "_start", self.start)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(sweeps, "outcomes", {})

    def start(self, job: SweepJob, environment: dict[str, str]) -> Any:
        job.directory.mkdir()
        self.started.append((job.name, environment["CUDA_VISIBLE_DEVICES"]))
        self.processes.append(Process(job, *self.ends[job.number]))
        self.most = max(self.most, sum(process.returncode is None for process in self.processes))
        return self.processes[-1]

    def launch(self, *ends: tuple[int, int], complete: Any = (), fail_fast: bool = False) -> list[Any]:
        """`ends`: of each job the looks and its exit code."""
        self.ends = ends
        machine = self

        class Launcher(GpusLauncher):
            def jobs_of(self, job_overrides: Any, first: int) -> list[SweepJob]:
                config = OmegaConf.create({"then": {}})
                return [
                    SweepJob(first + n, [f"seed={n}"], machine.folder / f"job{n}", config) for n in range(len(ends))
                ]

            def tell_complete(self, job: SweepJob) -> bool:
                return job.number in complete

        launcher = Launcher("auto", 1)
        launcher.config = OmegaConf.create({"engine": {"device": "cuda"}, "fail_fast": fail_fast})
        return [each.return_value for each in launcher.launch([], 0)]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_the_next_job_takes_the_device_that_is_free(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.launch((5, 0), (1, 0), (1, 0), (0, 0)) == [0.5, 1.5, 2.5, 3.5]
    assert machine.started == [("job0", "0"), ("job1", "1"), ("job2", "1"), ("job3", "1")]
    assert machine.most == 2
    said = capsys.readouterr().out
    assert said.startswith("4 jobs, 2 at a time; ")
    assert "job 2 started on device 1: job2\n" in said
    assert "job 1 completed: value 1.5\n" in said


def test_what_is_done_takes_no_device(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.launch((0, 0), (0, 0), complete=[0]) == [None, 1.5]
    assert machine.started == [("job1", "0")]
    assert capsys.readouterr().out.startswith("1 job, 1 at a time; ")
    machine.launch((0, 0), complete=[0])
    assert len(machine.started) == 1


@pytest.mark.parametrize("fail_fast", [False, True])
def test_a_failure_ends_the_others_only_where_that_was_asked_for(machine: Machine, fail_fast: bool) -> None:
    jobs = ((4, 0), (1, 1), (0, 0))
    if fail_fast:
        with pytest.raises(SweepStopped):
            machine.launch(*jobs, fail_fast=True)
    else:
        assert machine.launch(*jobs) == [0.5, None, 2.5]
    assert [name for name, _ in machine.started] == ["job0", "job1", *(["job2"] if not fail_fast else [])]
    assert machine.processes[0].got == ([signal.SIGTERM] if fail_fast else [])


def test_a_failure_ends_all_others_that_run_and_is_no_more_told_by_theirs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(SweepStopped):
        machine.launch((9, 0), (0, 1), (9, 0), (0, 0), fail_fast=True)
    assert [process.got for process in machine.processes] == [[signal.SIGTERM], [], [signal.SIGTERM]]


def test_a_signal_reaches_all_that_run_and_no_other_is_started(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[float]()
    monkeypatch.setattr(
        gpus_launcher.time, "sleep", lambda seconds: looked.append(seconds) or signal.raise_signal(signal.SIGTERM)
    )
    with pytest.raises(KeyboardInterrupt):
        machine.launch((9, 0), (9, 0), (9, 0))
    assert [process.got for process in machine.processes] == [[signal.SIGTERM]] * 2
    assert len(looked) == 2  # once more, to see them end


def test_a_job_is_a_training_of_its_own_words_in_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **told: started.append((command, told)))
    monkeypatch.setattr(sweep_jobs, "words_for_another_process", lambda: ["--config-dir", "/own"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    (tmp_path / "job").mkdir()
    (tmp_path / "job/console.log").write_text("of the first attempt\n")
    job = SweepJob(0, ["seed=1", "notes='a b'"], tmp_path / "job", OmegaConf.create())
    gpus_launcher._start(job, {"CUDA_VISIBLE_DEVICES": "6"})
    [(command, told)] = started
    assert command[1:] == [
        "-m", "mae_hydra", "train", "--config-dir", "/own", "seed=1", "notes='a b'",
        f"hydra.run.dir={tmp_path / 'job'}",
    ]  # fmt: skip
    assert {name: told["env"][name] for name in ("CUDA_VISIBLE_DEVICES", "MAE_HYDRA_JOB_OF_A_SWEEP", "PATH")} == {
        "CUDA_VISIBLE_DEVICES": "6", "MAE_HYDRA_JOB_OF_A_SWEEP": "1", "PATH": os.environ["PATH"],
    }  # fmt: skip
    assert told["start_new_session"] is True
    assert (told["preexec_fn"].func, told["preexec_fn"].args) == (end_with, (os.getpid(), signal.SIGTERM))
    assert (told["stdout"].name, told["stderr"]) == (str(tmp_path / "job/console.log"), subprocess.STDOUT)
    assert (tmp_path / "job/console.log").read_text() == "of the first attempt\n"
    gpus_launcher._start(SweepJob(1, [], tmp_path / "other", OmegaConf.create()), {})
    assert (tmp_path / "other/console.log").read_text() == ""


@pytest.mark.parametrize(
    ("words", "params", "titles"),
    [
        ([["data=a", "seed=1", "lr=2"], ["data=a", "seed=2", "lr=2"]], None, ["seed-1", "seed-2"]),
        ([["data=a", "seed=1", "lr=2"]], {"lr": "2"}, ["lr-2"]),  # of a sweep file of which one value is left
        ([["data=a", "seed=1"]], None, ["mine"]),
        ([["seed=1", "lr=2"], ["seed=2", "lr=3"]], {"lr": "2,3"}, ["lr-2_seed-1", "lr-3_seed-2"]),
    ],
)
def test_a_job_is_called_by_what_differs_between_the_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Any, params: Any, titles: list[str]
) -> None:
    launcher: Any = GpusLauncher("auto", 1)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "s/mine")}, "sweeper": {"params": params}}})
    ProcessLauncher.setup(launcher, hydra_context="context", task_function=str, config=config)  # type: ignore[arg-type]
    made = []

    def composed(context: Any, master: Any, overrides: Any, number: int) -> Any:
        made.append((context, number))
        return OmegaConf.create({"n": number}), tmp_path / f"job{number}"

    monkeypatch.setattr(sweep_jobs, "composed", composed)
    jobs = launcher.jobs_of(words, 4)
    assert [job.title for job in jobs] == titles
    assert made == [("context", number) for number in range(4, 4 + len(words))]
    assert [(job.number, job.overrides, job.directory, job.config.n) for job in jobs] == [
        (4 + n, each, tmp_path / f"job{4 + n}", 4 + n) for n, each in enumerate(words)
    ]
    assert (tmp_path / "s/mine").is_dir()


def test_the_place_of_a_job_follows_from_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loader:
        def load_sweep_config(self, master: Any, overrides: list[str]) -> Any:
            subdir = "job-${hydra.job.num}-" + overrides[0]
            return OmegaConf.create({"hydra": {"job": {}, "sweep": {"dir": str(tmp_path / "s"), "subdir": subdir}}})

    known: list[Any] = []
    monkeypatch.setattr(HydraConfig.instance(), "set_config", known.append, raising=False)
    context: Any = type("Context", (), {"config_loader": Loader()})()
    config, directory = sweep_jobs.composed(context, OmegaConf.create(), ["seed-1"], 3)
    assert directory == tmp_path / "s/job-3-seed-1"
    assert (config.hydra.job.id, config.hydra.job.num, known) == ("s_3", 3, [config])


def test_launchers_are_found_where_hydra_looks_for_plugins_also_where_none_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    for name in ("hydra_plugins", sweep_jobs.HOME):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sweep_jobs.importlib, "import_module", absent)
    sweep_jobs.register(GpusLauncher, Grid)
    home: Any = sys.modules["hydra_plugins.mae_hydra"]
    assert (home.GpusLauncher, home.Grid) == (GpusLauncher, Grid)
    parent: Any = sys.modules["hydra_plugins"]
    assert (parent.mae_hydra, parent.__path__) == (home, [])


@pytest.mark.parametrize("there", [True, False])
def test_hydras_own_sweepers_are_ours_with_all_jobs_in_one_batch(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    stored: dict[str, Any] = {}
    store = SimpleNamespace(store=lambda group, name, node, provider: stored.update({f"{group}/{name}": node}))
    monkeypatch.setattr(sweep_jobs.ConfigStore, "instance", lambda: store)
    monkeypatch.setattr(
        sweep_jobs, "find_spec", lambda name: name if there and name.endswith("optuna_sweeper") else None
    )
    sweep_jobs._take_the_place_of_hydras_own()
    search = stored.pop("hydra/sweeper/optuna", None)
    assert (search and search._target_) == ("hydra_plugins.mae_hydra.Search" if there else None)
    assert stored == {
        "hydra/sweeper/basic": {"_target_": "hydra_plugins.mae_hydra.Grid", "max_batch_size": None, "params": None}
    }
