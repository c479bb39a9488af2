"""What follows a run gets the words that hold for it, and its value is the sweep's."""

import json
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra.core.utils import setup_globals
from omegaconf import OmegaConf

from mae_hydra.configuration import resolvers
from mae_hydra.configuration.tree import config_dir
from mae_hydra.errors import UserError
from mae_hydra.experiment import sweeps
from mae_hydra.experiment.read_runs import grid_in
from mae_hydra.experiment.sweeps import Outcome
from mae_hydra.launching import stages, sweep_jobs
from mae_hydra.launching.job import _same_command
from mae_hydra.launching.stages import StageStopped, check_stages, run_stages
from mae_hydra.launching.sweep_jobs import SweepJob
from mae_hydra.parent import end_with


def status(run: Path, **told: Any) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    (run / "status.json").write_text(json.dumps({"state": "completed", "value": None} | told))
    return run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The words of each stage that was started; each completes, with a value one larger than that before."""
    words: list[list[str]] = []

    def run(command: list[str], mark: Any = None) -> tuple[int, None]:
        assert command[1:4] == ["-m", "mae_hydra", "train"]
        words.append(command[4:])
        directory = next(word.partition("=")[2] for word in command if word.startswith("hydra.run.dir="))
        status(Path(directory), value=10.0 + len(words))
        return 0, None

    monkeypatch.setattr(stages, "run_apart", run)
    return words


def test_a_stage_is_started_with_its_own_words_and_those_that_hold_for_it_too(
    started: list[list[str]], tmp_path: Path
) -> None:
    typed = ["engine=cpu", "logger=wandb", "model.mask_ratio=0.5", "seed=3", "data.batch_size=4", "paths.data_root=/d",
             "engine.devices=2", "engine.global_batch=8", "paths.output_root=o", "+debug=smoke", "notes=x"]  # fmt: skip
    value = run_stages({"probe": ["model=p", "seed=1"], "upernet": ["model=u"]}, tmp_path, 0.5, typed)
    assert value == 12.0
    inherited = ["engine=cpu", "logger=wandb", "paths.data_root=/d", "engine.devices=2", "+debug=smoke"]
    assert started == [
        [*own, *inherited, f"init_from={tmp_path}", f"hydra.run.dir={tmp_path / name}"]
        for name, own in (("probe", ["model=p", "seed=1"]), ("upernet", ["model=u"]))
    ]


def test_a_stage_that_is_complete_is_not_repeated_and_gives_its_value(started: list[list[str]], tmp_path: Path) -> None:
    assert run_stages({}, tmp_path, 0.5, []) == 0.5
    status(tmp_path / "probe", value=7.0)
    assert run_stages({"probe": ["model=p"]}, tmp_path, 0.5, []) == 7.0
    status(tmp_path / "probe", value=None)
    assert math.isnan(run_stages({"probe": ["model=p"]}, tmp_path, 0.5, []))
    assert started == []
    for number, state in enumerate(("failed", "interrupted", "pruned"), start=1):
        status(tmp_path / "probe", state=state)
        assert run_stages({"probe": ["model=p"]}, tmp_path, 0.5, []) == 10.0 + number


@pytest.mark.parametrize(
    ("stage", "typed", "said"),
    [
        (["model=upernet_vitt", "head.chanels=16"], [], "unknown key 'head.chanels'; did you mean 'head.channels'?"),
        (["model=upernet_vitt", "head.channels=many"], [], "head.channels must be a whole number"),
        (["model=upernet_vitt"], ["logger=wandbb", "model.mask_ratio=half"], "did you mean logger=wandb?"),
        (["model=upernetvitt"], [], "did you mean model=upernet_vit"),
    ],
)
def test_a_slip_in_what_follows_is_said_before_the_run_that_it_follows(
    stage: list[str], typed: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^then\.upernet: ") as caught:
        check_stages({"upernet": stage}, typed, tmp_path)
    assert said in str(caught.value)
    status(tmp_path / "upernet", value=7.0)  # it is there already, whatever would be composed today
    check_stages({"upernet": stage}, typed, tmp_path)


def test_stages_that_are_not_complete_are_looked_at_with_the_words_that_they_will_get(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(stages, "_check_composed", looked.append)
    monkeypatch.setattr(stages, "words_for_another_process", lambda: ["--config-dir", "/own"])
    states = ("completed", "failed", "interrupted", "pruned")
    for state in states:
        status(tmp_path / state, state=state)
    told = {name: [f"model={name}"] for name in (*states, "new")}
    check_stages(told, ["engine=cpu", "seed=3"], tmp_path)
    expected = [("--config-dir", "/own", f"model={name}", "engine=cpu") for name in told]
    assert looked == expected[1:]
    looked.clear()
    check_stages(told)
    assert looked == [words[:3] for words in expected]


@pytest.mark.parametrize(("code", "kind"), [(75, KeyboardInterrupt), (130, KeyboardInterrupt), (1, UserError)])
def test_a_stage_that_stops_stops_what_follows_with_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type
) -> None:
    status(tmp_path / "probe", state="failed", error="ValueError: in it")
    monkeypatch.setattr(stages, "run_apart", lambda *told: (code, None))
    with pytest.raises(kind) as caught:
        run_stages({"probe": ["model=p"]}, tmp_path, 0.5, [])
    if code == 1:
        assert str(caught.value) == f"stage probe failed: ValueError: in it (see {tmp_path / 'probe'})"
        for left in (lambda: status(tmp_path / "probe", state="interrupted"), (tmp_path / "probe/status.json").unlink):
            left()
            with pytest.raises(UserError, match=r"^stage probe failed: exit code 1 \(see "):
                run_stages({"probe": ["model=p"]}, tmp_path, 0.5, [])
    else:
        assert isinstance(caught.value.__cause__, StageStopped)
        assert caught.value.__cause__.exit_code == code


def test_what_cannot_follow_a_run_is_said_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for told, said in (
        ({"..": ["model=u"]}, r"then\.\.\. names a directory"), ({".hidden": []}, "names a directory"),
        ({"a/b": []}, "names a directory"), ({"u": "model=u"}, "must be a list of overrides"),
        ({"u": 5}, "must be a list of overrides"), ({"u": ["model=u", "hydra.verbose=true"]}, "is about Hydra itself"),
        ({"u": ["model=u", "-m"]}, r"\(-m is an option\)"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            check_stages(told)
    monkeypatch.setattr(stages, "_check_composed", lambda words: None)
    check_stages({"u.1-b_c": ["model=u"]})
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_stages({})
    with pytest.raises(UserError, match=r"use engine\.devices instead of torchrun"):
        check_stages({"u": ["model=u"]})


def test_stages_that_a_file_tells_hold_no_words_that_act_and_are_not_composed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    acting = {"u": ["model=u", "notes=${oc.env:HOME}"]}
    monkeypatch.setattr(stages.resuming, "source", tmp_path)
    monkeypatch.setattr(stages.resuming, "typed", ())
    monkeypatch.setattr(stages, "_check_composed", lambda words: 1 / 0)
    with pytest.raises(UserError, match=r"then\.u.* is not taken from a file"):
        check_stages(acting)
    monkeypatch.setattr(stages.resuming, "typed", ("then.u=[model=u]",))
    check_stages(acting)


def test_a_signal_that_comes_before_a_stage_has_begun_reaches_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    got: list[Any] = []

    class Process:
        def __init__(self, command: Any, **told: Any) -> None:
            got.append((command, told["start_new_session"], told["env"]["MARK"], "PATH" in told["env"]))
            assert (told["preexec_fn"].func, told["preexec_fn"].args) == (end_with, (os.getpid(), signal.SIGTERM))
            signal.raise_signal(signal.SIGUSR1)

        def poll(self) -> None: ...

        def send_signal(self, number: int) -> None:
            got.append(number)

        def wait(self) -> int:
            signal.raise_signal(signal.SIGTERM)
            return 75

    monkeypatch.setattr(stages.subprocess, "Popen", Process)
    assert stages.run_apart(["a", "b"], {"MARK": "1"}) == (75, signal.SIGTERM)
    assert got == [(["a", "b"], True, "1", True), signal.SIGUSR1, signal.SIGTERM]


def test_a_stage_is_told_which_words_were_typed_and_its_signal_goes_to_the_scheduler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(stages.resuming, "source", tmp_path)
    monkeypatch.setattr(stages, "run_apart", lambda command, *mark: told.append(mark) or (75, 15))
    monkeypatch.setattr(stages, "pass_on", told.append)
    for typed, marked in (((), True), (("then.u=[model=u]",), False)):
        monkeypatch.setattr(stages.resuming, "typed", typed)
        with pytest.raises(KeyboardInterrupt):
            run_stages({"u": ["model=u"]}, tmp_path / "run", 0.5, [])
        mark, number = told[-2:]
        assert (bool(mark), number) == (marked, 15)


def finished(sweep: Path, monkeypatch: pytest.MonkeyPatch, begun: float, params: dict | None = None) -> bool:
    hydra = SimpleNamespace(sweep=SimpleNamespace(dir=str(sweep)), sweeper=SimpleNamespace(params=params))
    config: Any = SimpleNamespace(hydra=hydra)
    monkeypatch.setattr(sweeps, "_current", [(config, begun)])
    return sweeps.finish()


def test_the_table_of_a_sweep_tells_refused_from_failed_and_minutes_from_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for name, lr, more in (
        ("a", "0.1", {"value": 0.25, "end": 1150.0}), ("b", "0.2", {"value": 9.0, "end": 1060.0}),
        ("c", "0.3", {"value": None, "state": "failed", "error": "ValueError: old", "end": 500.0}),
        ("d", "0.4", {"value": None, "state": "interrupted", "end": 1006.0}),
    ):  # fmt: skip
        status(tmp_path / name, start=1000.0, overrides=[f"optimizer.lr={lr}", "seed=1"], **more)
        (tmp_path / name / "config.yaml").write_text("checkpoint: {monitor: val/loss, mode: min}\n")
    told = {"b": Outcome("refused", "holds another run"), "d": Outcome("failed", "died")}
    monkeypatch.setattr(sweeps, "outcomes", told)
    assert finished(tmp_path, monkeypatch, 900.0, {"optimizer.lr": "0.1,0.2"})
    rows = {row["job"]: row for row in json.loads((tmp_path / "results.json").read_text())}
    told = {job: (row["state"], row["value"], row["val/loss"], row["error"]) for job, row in rows.items()}
    assert told == {
        "a": ("completed", 0.25, 0.25, None), "b": ("refused", None, None, "holds another run"),
        "c": ("failed", None, None, "ValueError: old"), "d": ("failed", None, None, "died"),
    }  # fmt: skip
    said = capsys.readouterr().out
    lines = [line.replace("┃", "│").split("│")[1:-1] for line in said.splitlines()]
    rows_of = [[cell.strip() for cell in cells] for cells in lines]
    assert ["optimizer.lr", "state", "val/loss", "minutes", "error"] in rows_of
    assert ["0.1", "completed", "0.25", "2.5", ""] in rows_of
    assert ["0.2", "refused", "", "1.0", "holds another run"] in rows_of
    monkeypatch.setenv("COLUMNS", "80")
    finished(tmp_path, monkeypatch, 900.0, {"optimizer.lr": "0.1,0.2"})
    said = capsys.readouterr().out
    assert "failed: ValueError: old\nfailed: died\n" in said  # below the table, which had no room for them
    assert "error" not in said.lower().partition("failed: ")[0]


def test_a_key_of_the_grid_has_its_column_where_one_value_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status(
        tmp_path / "a",
        start=1000.0,
        end=1060.0,
        overrides=["optimizer.lr=0.125", "+loss.gain=2", "logger=none"],
        value=0.5,
    )
    (tmp_path / "multirun.yaml").write_text("hydra: {sweeper: {params: {optimizer.lr: '0.1,0.2', +loss.gain: '1,2'}}}")
    assert not finished(tmp_path, monkeypatch, 900.0, {"optimizer.lr": "0.1,0.2", "+loss.gain": "1,2", "logger": "a,b"})
    assert "0.125" in capsys.readouterr().out
    [row] = json.loads((tmp_path / "results.json").read_text())
    assert (row["optimizer.lr"], row["loss.gain"], row["logger"]) == (0.125, 2, "none")
    assert grid_in(tmp_path) == ["optimizer.lr", "loss.gain"]
    assert grid_in(tmp_path / "a") == []


def test_a_sweep_has_failed_where_a_job_failed_since_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status(tmp_path / "a", state="failed", start=100.0, end=200.0)
    for begun, failed in ((150.0, True), (200.0, True), (250.0, False)):  # before it began it failed in another sweep
        assert finished(tmp_path, monkeypatch, begun) is failed
    stage = status(status(tmp_path / "a", start=1.0, end=2.0) / "probe", state="failed", start=100.0, end=200.0)
    assert stage.name == "probe"
    assert finished(tmp_path, monkeypatch, 150.0)


def test_the_value_of_a_job_is_that_of_a_complete_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for state, value, told in (("completed", 3.0, 3.0), ("failed", 3.0, None), ("completed", None, None)):
        status(tmp_path, state=state, value=value)
        found = SweepJob(0, ["a=1"], tmp_path, OmegaConf.create()).found
        assert found.overrides == ["a=1"]
        assert found.return_value == told
    status(tmp_path, state="completed", value=3.0)
    status(tmp_path / "u", state="completed", value=7.0)
    assert SweepJob(0, [], tmp_path, OmegaConf.create({"then": {"u": []}})).found.return_value == 7.0
    assert SweepJob(0, [], tmp_path, OmegaConf.create({"then": {"gone": []}})).found.return_value is None
    monkeypatch.setattr(sweeps, "outcomes", {tmp_path.name: Outcome("refused", "holds another run")})
    assert SweepJob(0, ["a=1"], tmp_path, OmegaConf.create()).found.return_value is None


@pytest.mark.parametrize(
    ("job", "probe", "words", "complete"),
    [
        ("completed", "completed", {}, True), ("completed", "failed", {}, False), ("completed", None, {}, False),
        ("completed", "pruned", {}, False),
        ("failed", "completed", {}, False), ("completed", "completed", {"resume": "never"}, False),
        ("pruned", None, {}, True), ("pruned", None, {"callbacks": {"pruning": {"keep": 0.2}}}, False),
    ],
)  # fmt: skip
def test_a_job_takes_no_device_where_it_and_all_that_follows_it_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, probe: str | None, words: dict[str, Any], complete: bool
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(sweep_jobs, "run_job", lambda **told: said.append(list(told.values())))
    monkeypatch.setattr(sweep_jobs, "configure_log", lambda *told: said.append(told))  # back to the sweep's own
    monkeypatch.setattr(sweep_jobs.HydraConfig, "instance", lambda: SimpleNamespace(set_config=lambda config: None))
    callbacks = {"pruning": {"keep": 0.5}}
    (status(tmp_path / "a", state=job, value=1.0) / "config.yaml").write_text(json.dumps({"callbacks": callbacks}))
    if probe is not None:
        status(tmp_path / "a" / "probe", state=probe)
    config = OmegaConf.create({"then": {"probe": []}, "resume": "auto", "callbacks": callbacks})
    config = OmegaConf.merge({key: value for key, value in config.items() if key not in words}, words)
    of_hydra = OmegaConf.create({"hydra": {"hydra_logging": None, "verbose": False}})
    launcher: Any = SimpleNamespace(context="context", task="task", config=of_hydra)
    job_of_it = SweepJob(0, [], tmp_path / "a", config)
    assert sweep_jobs.ProcessLauncher.tell_complete(launcher, job_of_it) is complete
    ran = ["context", "task", config, "hydra.sweep.dir", "hydra.sweep.subdir"]
    assert said == ([ran, (None, False)] if complete else [])


def test_a_sweep_that_is_named_by_its_time_goes_on_by_its_directory() -> None:
    conf = yaml.safe_load((config_dir() / "config.yaml").read_text())["hydra"]["sweep"]["dir"]
    setup_globals()
    resolvers.register()
    for name, timed in ((None, True), ("my lr", False)):
        known = {"paths": {"output_root": "o p"}, "hydra": {"sweeper": {"study_name": name}, "sweep": {"dir": conf}}}
        sweep = Path(str(OmegaConf.create(known).hydra.sweep.dir))
        again = f"the same command with hydra.sweep.dir='{sweep}'" if timed else "the same command"
        assert _same_command(sweep) == again


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ([b"one\ntwo\n\n  \n", b"other"], "two"),
        ([None, b" other \n"], "other"),
        ([b"\n \n", b"other"], "other"),
        ([b"caf\xe9 is no UTF-8"], "caf\ufffd is no UTF-8"),
        ([b"10 %\r100 %\n"], "100 %"),
        ([None, b""], ""),
    ],
)
def test_the_last_words_of_a_job_are_those_of_the_first_file_that_says_any(
    tmp_path: Path, contents: list[bytes | None], said: str
) -> None:
    files = [tmp_path / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        if content is not None:
            file.write_bytes(content)
    assert sweep_jobs.last_line(*files) == said
