"""How a command ends: its exit code, and the one sentence that it says."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.launching import launch as module
from mae_hydra.launching.launch import _job, _refuse_unnamed_sweeps, launch


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


class Saved(Exception):
    exit_code = 75


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`ended(error)`: the exit code of a command in which that was raised, and which signal went to the scheduler."""
    told: list[Any] = []
    raising: list[Any] = []

    def main(**named: Any) -> Any:
        def entry() -> None:
            if raising:
                raise raising.pop()

        return lambda job: entry

    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(module.hydra, "main", main)
    monkeypatch.setattr(module, "register", lambda *plugins: None)
    monkeypatch.setattr(module.sweeps, "start", lambda: None)
    monkeypatch.setattr(module.scheduler, "heed", lambda: None)
    monkeypatch.setattr(module.scheduler, "pass_on", told.append)

    def call(error: BaseException | None = None, failed: bool = False) -> Any:
        monkeypatch.setattr(module.sweeps, "finish", lambda: failed)
        raising[:] = [] if error is None else [error]
        told.clear()
        return launch(["seed=1"]), told[:]

    return call


def test_the_exit_code_says_whether_to_start_again(ended: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert [ended(), ended(failed=True)] == [(0, []), (1, [])]
    assert capsys.readouterr().err == ""
    assert ended(caused(KeyboardInterrupt(15), Saved())) == (75, [15])
    assert capsys.readouterr().err == ""
    assert ended(KeyboardInterrupt()) == (130, [None])
    assert capsys.readouterr().err == "stopped before there was a state to save\n"
    assert ended(sweeps.SweepStopped()) == (1, [])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("no such data"), "error: no such data\n"),
        (caused(HydraException("of Hydra"), UserError("no such data")), "error: no such data\n"),
        (caused(OmegaConfBaseException("of OmegaConf"), UserError("no such data")), "error: no such data\n"),
        (OSError(28, "No space left on device", "outputs/a"), "name another place with paths.output_root=<folder>"),
    ],
    ids=repr,
)
def test_a_mistake_is_one_sentence(ended: Any, capsys: pytest.CaptureFixture[str], error: Exception, said: str) -> None:
    assert ended(error) == (1, [])
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1


def test_an_error_of_the_program_is_raised_and_one_of_submitit_is_its_reason(
    ended: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="of the program"):
        ended(ValueError("of the program"))
    code = compile("raise RuntimeError('Job 5 failed\\n---\\nlog')", str(tmp_path / "submitit/core.py"), "exec")
    monkeypatch.setattr(module.scheduler, "heed", lambda: exec(code))
    assert ended() == (1, [])
    said = "error: submitit: Job 5 failed; the same command goes on from what there is\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("value", "found"), [(0.5, 0.5), (float("nan"), None), (0.0, 0.0)])
def test_what_is_no_number_is_no_value_to_a_search(monkeypatch: pytest.MonkeyPatch, value: float, found: Any) -> None:
    monkeypatch.setattr("mae_hydra.launching.job.run_job", lambda config: value)
    config: Any = SimpleNamespace()
    assert _job(config) == found


def test_several_processes_say_a_mistake_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, said in (("0", "error: a mistake\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert module._say("a mistake") == 1
        assert capsys.readouterr().err == said


def test_a_sweep_over_what_names_no_job_is_refused_wherever_it_stands() -> None:
    _refuse_unnamed_sweeps(["seed=1,2", "logger=wandb", "hydra/launcher=gpus,slurm", "tags=[a,b]"])
    with pytest.raises(UserError, match="a sweep over logger would put all its jobs into one directory"):
        _refuse_unnamed_sweeps(["seed=1,2", "logger=wandb,local"])


@pytest.mark.parametrize(("flag", "code"), [("-m", 1), ("--multirun", 1), ("--cfg=job", 0)])
def test_a_sweep_by_either_name_is_looked_at_before_it_begins(
    ended: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flag: str, code: int
) -> None:
    monkeypatch.setattr(module.sweeps, "finish", lambda: False)
    assert launch([flag, "seed=1", "logger=wandb,local"]) == code
    assert ("a sweep over logger would put all" in capsys.readouterr().err) == bool(code)


def test_what_is_typed_is_made_readable_put_in_order_and_gone_on_from_before_hydra_sees_it(
    ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home, name in (
        (module, "readable"), (module, "options_first"), (module.resuming, "expanded"), (module, "addable")
    ):  # fmt: skip
        monkeypatch.setattr(home, name, lambda words, name=name: [*words, name])
    assert ended() == (0, [])
    assert sys.argv == ["train.py", "seed=1", "readable", "options_first", "expanded", "addable"]


def test_help_is_given_for_the_words_of_whoever_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module, "_help", lambda words: asked.append(list(words)) or 3)
    monkeypatch.setattr(sys, "argv", ["train.py", "--help", "data"])
    assert (launch(["-h"]), launch(["engine", "--help"]), launch()) == (3, 3, 3)
    assert asked == [["-h"], ["engine", "--help"], ["--help", "data"]]
