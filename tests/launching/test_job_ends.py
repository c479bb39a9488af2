"""Whatever ends a job, its directory and whoever started it are told; and what is done is not done again."""

import errno
import json
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hydra.types import RunMode
from omegaconf import OmegaConf
from raising import raising

from mae_hydra.engine import Interrupted
from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.holder import Refused, holding
from mae_hydra.experiment.same_run import what_was_trained
from mae_hydra.experiment.status import Ending, Status
from mae_hydra.experiment.sweeps import SweepStopped
from mae_hydra.launching import job

CONFIG: dict[str, Any] = {
    "name": "mine", "task": "pretrain", "seed": 1, "resume": "auto", "then": {"probe": ["model=p"]}, "fail_fast": False,
    "engine": {"devices": 1, "device": "cpu"}, "paths": {"output_root": "outputs"}, "encoder": {}, "loss": {},
    "callbacks": {},
}  # fmt: skip


class Jobs:
    """Starts jobs in `folder`/run that end as `answer` says; `told`: what each part was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run_dir, self.answer, self.told, self.mode = folder / "run", Ending(0.5), list[Any](), RunMode.RUN
        self.run_dir.mkdir()
        for name in ("take_whole_nodes", "join_tasks", "name_job", "check", "check_stages"):
            monkeypatch.setattr(job, name, lambda *told: None)
        monkeypatch.setattr("mae_hydra.experiment.start.provenance", lambda: ({}, {}))
        monkeypatch.setattr(job, "changed_code", lambda run_dir: None)
        for name in ("run", "run_in_processes"):
            monkeypatch.setattr(job, name, lambda *told, name=name, **more: self._train(name, *told, *more.values()))
        monkeypatch.setattr(job, "run_stages", lambda *told: self.told.append(("run_stages", *told)) or 9.0)
        monkeypatch.setattr(job, "pass_on", lambda number: self.told.append(("pass_on", number)))
        monkeypatch.setattr(job.HydraConfig, "get", self.hydra)
        monkeypatch.setattr(sweeps, "outcomes", {})

    def hydra(self) -> Any:
        task, runtime = ["seed=1", "resume=auto"], SimpleNamespace(output_dir=str(self.run_dir))
        overrides, sweeper = SimpleNamespace(task=task), SimpleNamespace(params=None)
        return SimpleNamespace(mode=self.mode, runtime=runtime, overrides=overrides, sweeper=sweeper)

    def _train(self, name: str, *told: Any) -> Any:
        self.told.append((name, *told))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def start(self, **told: Any) -> float:
        self.told.clear()
        return job.run_job(OmegaConf.create(CONFIG | told))

    @property
    def status(self) -> list[Any]:
        content = json.loads((self.run_dir / "status.json").read_text())
        return [content[name] for name in ("state", "value", "error", "ended")]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    return Jobs(tmp_path, monkeypatch)


def test_a_complete_run_is_followed_by_its_stages_and_a_pruned_one_by_nothing(jobs: Jobs) -> None:
    assert jobs.start() == 9.0
    assert jobs.told[1:] == [("run_stages", CONFIG["then"], jobs.run_dir, 0.5, ["seed=1"])]
    assert jobs.status == ["completed", 0.5, None, None]
    jobs.answer = Ending(0.25, "pruned at step 2 of 4: worse", True)
    assert jobs.start(resume="never") == 0.25
    assert len(jobs.told) == 1
    assert jobs.status == ["pruned", 0.25, None, "pruned at step 2 of 4: worse"]
    jobs.answer = Ending(0.75, "ended after step 3 of 4: no better")
    assert jobs.start(resume="never") == 9.0
    assert jobs.status == ["completed", 0.75, None, "ended after step 3 of 4: no better"]


def test_a_run_that_saved_its_state_is_interrupted_and_says_how_to_go_on(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.answer = Interrupted(7, signal.SIGTERM)
    for in_sweep, again in ((False, f"python train.py resume={jobs.run_dir}"), (True, "the same command")):
        if in_sweep:
            monkeypatch.setenv(job.OF_A_SWEEP, "1")
        with pytest.raises(KeyboardInterrupt) as stopped:
            jobs.start()
        assert stopped.value.__cause__ is jobs.answer
        assert jobs.told[-1] == ("pass_on", signal.SIGTERM)
        assert jobs.status == ["interrupted", None, "interrupted after step 7, state saved", None]
        assert capsys.readouterr().err == f"interrupted after step 7, state saved. To go on: {again}\n"


def test_a_run_that_is_stopped_at_once_says_that_nothing_was_saved(jobs: Jobs) -> None:
    jobs.answer = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        jobs.start()
    assert jobs.status == ["interrupted", None, "stopped before the state could be saved", None]


@pytest.mark.parametrize(
    ("mode", "apart", "fail_fast", "error", "kind", "known"),
    [
        (RunMode.RUN, False, True, ValueError("first\nsecond"), ValueError, None),
        (RunMode.RUN, True, True, ValueError("first\nsecond"), ValueError, None),  # who runs the sweep goes on
        (RunMode.MULTIRUN, False, False, ValueError("first\nsecond"), None, "failed"),
        (RunMode.MULTIRUN, False, False, Refused("first"), None, "refused"),
        (RunMode.MULTIRUN, False, True, ValueError("first\nsecond"), SweepStopped, "failed"),
    ],
)
def test_an_error_ends_a_single_run_and_a_sweep_only_where_that_was_asked_for(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: RunMode, apart: bool,
    fail_fast: bool, error: Exception, kind: type | None, known: str | None,
) -> None:  # fmt: skip
    jobs.mode, jobs.answer = mode, error
    if apart:
        monkeypatch.setenv(job.OF_A_SWEEP, "1")
    if kind is None:
        assert math.isnan(jobs.start(fail_fast=fail_fast))
    else:
        with pytest.raises(kind):
            jobs.start(fail_fast=fail_fast)
    assert {name: (each.state, each.error) for name, each in sweeps.outcomes.items()} == (
        {} if known is None else {"run": (known, str(error))}
    )
    assert jobs.status == ["failed", None, f"{type(error).__name__}: first", None]
    assert "first" in (jobs.run_dir / "error.txt").read_text()
    [record] = caplog.records
    assert (record.getMessage(), bool(record.exc_info)) == (str(error), not isinstance(error, UserError))


def test_several_processes_hold_the_directory_together(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jobs.start(engine={"devices": 3, "device": "cpu"}) == 9.0
    [name, count, plain, run_dir, lock, later] = jobs.told[0]
    assert (name, count, plain["seed"], run_dir, later) == ("run_in_processes", 3, 1, jobs.run_dir, None)
    assert [os.path.isabs(f"/proc/self/fd/{each}") for each in lock] == [True]
    assert jobs.status[0] == "completed"
    monkeypatch.setenv("RANK", "1")  # of torchrun: the first one keeps the directory
    monkeypatch.setattr("mae_hydra.experiment.holder.LOCK_PATIENCE", 0.1)
    before = (jobs.run_dir / "status.json").read_bytes()
    jobs.answer = Ending(0.125)
    with holding(jobs.run_dir):
        assert jobs.start(resume="never") == 0.125
    assert [told[0] for told in jobs.told] == ["run"]
    assert (jobs.run_dir / "status.json").read_bytes() == before


def test_a_start_writes_its_files_at_once_only_where_nothing_is_gone_on_from(jobs: Jobs) -> None:
    jobs.start()
    assert jobs.told[0][-1] is None
    assert yaml.safe_load((jobs.run_dir / "config.yaml").read_text()) == CONFIG
    (jobs.run_dir / "status.json").write_text('{"state": "interrupted", "attempt": 4}')
    (jobs.run_dir / "checkpoints").mkdir()
    torch.save({"config": CONFIG, "meta": {}}, jobs.run_dir / "checkpoints/last.pt")
    (jobs.run_dir / "config.yaml").unlink()
    jobs.answer = RuntimeError("of whatever refused it")
    with pytest.raises(RuntimeError):
        jobs.start()
    later = jobs.told[0][-1]
    assert later.tables["status.json"]["attempt"] == 5
    assert not (jobs.run_dir / "config.yaml").exists()
    assert json.loads((jobs.run_dir / "status.json").read_text()) == {"state": "interrupted", "attempt": 4}


def test_where_no_second_file_has_room_the_end_is_written_over_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*told: Any, **more: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    status = Status(tmp_path, CONFIG | {"name": "a" * 500}, [])
    status.write()
    status.content["name"] = "a"
    monkeypatch.setattr("mae_hydra.experiment.status.write_json", full)
    job._finish(status, "interrupted", error="state saved")
    found = json.loads((tmp_path / "status.json").read_text())
    assert (found["state"], found["error"], found["name"]) == ("interrupted", "state saved", "a")
    assert capsys.readouterr().err == ""
    (tmp_path / "status.json").unlink()
    job._finish(status, "completed", 1.0)
    assert capsys.readouterr().err == (
        f"warning: {tmp_path / 'status.json'} does not say that this run is completed (No such file or directory)\n"
    )


def there(run: Path, state: str, **told: Any) -> None:
    """A run that has begun: its checkpoint with CONFIG, and its status."""
    (run / "checkpoints").mkdir(parents=True)
    torch.save({"config": CONFIG, "meta": {}}, run / "checkpoints/last.pt")
    (run / "status.json").write_text(json.dumps({"state": state, "value": None} | told))


@pytest.mark.parametrize(
    ("state", "told", "now", "ending", "said"),
    [
        ("completed", {"value": 0.12345}, {}, Ending(0.12345), "run is already complete (value 0.1235); nothing to do"),
        ("completed", {}, {}, Ending(math.nan), "run is already complete; nothing to do"),
        ("completed", {"value": 1.0}, {"engine": {"devices": 2, "device": "cpu"}}, Ending(1.0),
         "; what was typed otherwise now changes nothing in it (engine.devices: 1 -> 2)"),
        ("pruned", {"value": 1.0, "ended": "pruned at step 2"}, {}, Ending(1.0, "", True),
         "run was pruned at step 2; callbacks=none trains it to its end (value 1); nothing to do"),
        ("pruned", {"value": 1.0}, {"callbacks": {"a": {"keep": 1}}}, None, "goes on with other settings"),
        ("completed", {"value": 1.0}, {"callbacks": {"a": {"keep": 1}}}, Ending(1.0), "is already complete"),
        ("interrupted", {}, {}, None, ""),
        ("interrupted", {}, {"engine": {"devices": 2, "device": "cpu"}}, None,
         "goes on with other settings, which do not change what is trained: engine.devices: 1 -> 2\n"),
        ("interrupted", {}, {"inference": {"mask_ratio": 0.5}}, None, "; best.pt is chosen anew from here on"),
        ("completed", {"value": 1.0}, {"resume": "never", "seed": 2}, None, ""),
    ],
)  # fmt: skip
def test_what_is_done_is_told_and_what_is_not_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str, told: dict,
    now: dict, ending: Ending | None, said: str,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    there(run, state, **told)
    monkeypatch.setattr(job, "changed_code", lambda run_dir: None)
    found = job._look_back(run, CONFIG | now, what_was_trained(run))
    assert repr(found) == repr(ending)
    printed = capsys.readouterr().out
    assert said in printed
    assert bool(printed) == bool(said)
    assert ("what was typed otherwise" in printed) == (state == "completed" and bool(ending and now))


def test_a_complete_run_tells_of_changed_code_and_of_an_edited_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    there(run, "completed", value=1.0)
    (run / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"seed": 2}))
    monkeypatch.setattr(job, "changed_code", lambda run_dir: "commit a then, b now")
    assert job._look_back(run, CONFIG, what_was_trained(run)) == Ending(1.0)
    edited, done = capsys.readouterr().out.splitlines()
    assert edited.endswith("config.yaml is not what was trained by, and does not count (seed: 1 -> 2)")
    assert done.endswith("; the code has changed since (commit a then, b now), resume=never trains it anew")
    with pytest.raises(Refused, match=r"another configuration \(seed: 1 -> 2\)"):
        job._look_back(run, CONFIG | {"seed": 2}, what_was_trained(run))
    (run / "checkpoints/last.pt").unlink()  # of a run that is complete the file beside it tells
    with pytest.raises(Refused, match=r"another configuration \(seed: 2 -> 1\)"):
        job._look_back(run, CONFIG, what_was_trained(run))
    (run / "status.json").write_text('{"state": "failed"}')
    assert job._look_back(run, CONFIG, what_was_trained(run)) is None


def test_a_directory_to_go_on_in_is_the_one_that_the_run_would_go_to(tmp_path: Path) -> None:
    run = tmp_path / "run"
    there(run, "interrupted")
    job._check_is_run(run, tmp_path / "run/../run")
    with pytest.raises(Refused, match=r"but this run would go to .*other; leave out hydra"):
        job._check_is_run(run, tmp_path / "other")
    for name in ("checkpoints", "config.yaml", "overrides.yaml", "status.json"):
        (tmp_path / name / name).mkdir(parents=True)
        job._check_is_run(tmp_path / name, tmp_path / name)
    with pytest.raises(Refused, match=r"no checkpoints/last\.pt there"):
        job._check_is_run(run.parent / "none", run.parent / "none")


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "environment.json", "git.json", "git.diff", "metrics.jsonl", "results.json", "error.txt"],
)
def test_a_folder_with_files_of_these_names_is_not_written_into_unless_it_is_a_run(tmp_path: Path, name: str) -> None:
    (tmp_path / "photos").mkdir()
    job._refuse_foreign(tmp_path)
    (tmp_path / name).write_text("mine")
    with pytest.raises(Refused, match=f"holds {name} and is no run"):
        job._refuse_foreign(tmp_path)
    (tmp_path / "overrides.yaml").write_text("[]")
    job._refuse_foreign(tmp_path)


def test_a_mistake_before_the_first_step_leaves_no_directory_of_a_single_run_alone(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.answer = UserError("a mistake")
    left: list[Any] = []
    monkeypatch.setattr(job, "discard_unbegun", lambda *told: left.append(told))
    for mode, word, kind in (
        (RunMode.RUN, None, UserError), (RunMode.RUN, "WORLD_SIZE", UserError), (RunMode.MULTIRUN, None, SweepStopped),
        (RunMode.RUN, job.OF_A_SWEEP, UserError),
    ):  # fmt: skip
        jobs.mode = mode
        left.clear()
        with monkeypatch.context() as patch:
            if word is not None:
                patch.setenv(word, "2")
            with pytest.raises(kind):
                jobs.start(fail_fast=True)
        assert left == ([(jobs.run_dir, Path("outputs"))] if (mode, word) == (RunMode.RUN, None) else [])
    jobs.mode = RunMode.MULTIRUN
    monkeypatch.setattr(job, "take_whole_nodes", raising(jobs.answer))
    with pytest.raises(UserError):
        jobs.start()
    assert left == []


def test_what_fails_before_a_run_has_begun_is_a_failed_run_by_its_name(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.mode = RunMode.MULTIRUN
    monkeypatch.setattr(job, "check", lambda config: 1 / 0)
    assert math.isnan(jobs.start())
    content = json.loads((jobs.run_dir / "status.json").read_text())
    assert [content[name] for name in ("name", "task", "state", "error", "overrides")] == [
        "mine", "pretrain", "failed", "ZeroDivisionError: division by zero", ["seed=1"],
    ]  # fmt: skip
    assert sweeps.outcomes["run"].error == "division by zero"


def test_a_directory_of_somebody_elses_files_stays_as_it_is(jobs: Jobs) -> None:
    (jobs.run_dir / "metrics.jsonl").write_text("mine")
    with pytest.raises(Refused, match=r"holds metrics\.jsonl and is no run"):
        jobs.start()
    assert {path.name: path.read_text() for path in jobs.run_dir.iterdir() if path.suffix} == {"metrics.jsonl": "mine"}
    assert jobs.told == []


def test_what_sweeps_is_no_single_run_unless_it_goes_on_in_a_directory_of_one(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[Path] = []
    monkeypatch.setattr(job, "discard_empty", emptied.append)
    sweeping = vars(jobs.hydra()) | {"sweeper": SimpleNamespace(params={"seed": "1,2", "lr": "3,4"})}
    monkeypatch.setattr(job.HydraConfig, "get", lambda: SimpleNamespace(**sweeping))
    for resume in ("auto", "never"):
        with pytest.raises(UserError, match=r"sweeps over seed, lr; add -m: python train\.py -m seed=1$"):
            jobs.start(resume=resume)
    assert emptied == [jobs.run_dir] * 2
    there(jobs.run_dir, "interrupted")
    assert jobs.start(resume=str(jobs.run_dir)) == 9.0
    monkeypatch.setenv(job.OF_A_SWEEP, "1")
    assert jobs.start(resume="never") == 9.0
