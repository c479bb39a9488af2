"""What a sweep says of its table where that cannot be written."""

import dataclasses
import errno
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from mae_hydra.configuration.tree import config_dir
from mae_hydra.errors import UserError
from mae_hydra.experiment import sweep_names, sweeps
from mae_hydra.experiment.holder import _unwritable
from mae_hydra.experiment.read_runs import Run
from mae_hydra.names import shortened


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_table_that_cannot_be_written_is_said_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def fail(*told: Any) -> None:
        raise OSError(number, "the disk says no")

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "status.json").write_text(json.dumps({"state": "completed", "value": 1.0}))
    hydra = SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path)), sweeper=SimpleNamespace(params=None))
    sweep: Any = SimpleNamespace(hydra=hydra)
    monkeypatch.setattr(sweeps, "_current", [(sweep, time.time())])
    monkeypatch.setattr(sweeps, "write_table", fail)
    assert not sweeps.finish()
    said = capsys.readouterr()
    assert said.err.startswith("warning: ")
    assert "the disk says no" in said.err
    assert "the table is only shown" in said.err
    assert "completed" in said.out


@pytest.mark.parametrize(
    ("state", "end", "stage_end", "failed"),
    [
        ("failed", 60.0, 40.0, True), ("failed", 40.0, 60.0, True), ("failed", 40.0, 40.0, False),
        ("completed", 60.0, 60.0, False), ("interrupted", 60.0, 60.0, False), ("pruned", 60.0, 60.0, False),
    ],
)  # fmt: skip
def test_a_sweep_failed_where_a_job_or_what_follows_it_failed_since_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    state: str, end: float, stage_end: float, failed: bool,
) -> None:  # fmt: skip
    begun = 50.0
    (tmp_path / "a" / "probe").mkdir(parents=True)
    (tmp_path / "a" / "status.json").write_text(
        json.dumps({"state": "completed", "value": 1.0, "start": 10.0, "end": end})
    )
    told = {"state": state, "value": 2.0, "start": stage_end - 30, "end": stage_end}
    (tmp_path / "a" / "probe" / "status.json").write_text(json.dumps(told))
    hydra = SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path)), sweeper=SimpleNamespace(params=None))
    monkeypatch.setattr(sweeps, "_current", [(SimpleNamespace(hydra=hydra), begun)])
    monkeypatch.setattr(sweeps, "outcomes", {})
    assert sweeps.finish() is failed
    minutes = (end - 10 + 30) / 60
    assert f"{minutes:.1f}" in capsys.readouterr().out


def test_the_row_of_a_refused_job_has_no_numbers_of_what_lies_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        told = {"state": "completed", "value": value, "start": 10.0, "end": 20.0, "overrides": [f"seed={value:.0f}"]}
        (tmp_path / name / "status.json").write_text(json.dumps(told))
        ratio = {"task": "pretrain", "model": {"mask_ratio": value / 4}, "checkpoint": {"monitor": "val/loss"}}
        (tmp_path / name / "config.yaml").write_text(json.dumps(ratio))
    params = {"+optimizer.lr": "0.1"}
    hydra = SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path)), sweeper=SimpleNamespace(params=params))
    monkeypatch.setattr(sweeps, "_current", [(SimpleNamespace(hydra=hydra), 0.0)])
    monkeypatch.setattr(sweeps, "outcomes", {"a": sweeps.Outcome("refused", "is another run's")})
    tables: list[Any] = []
    monkeypatch.setattr(sweeps, "write_table", lambda rows, folder: tables.append(rows))
    shows: list[Any] = []
    monkeypatch.setattr(sweeps, "show", lambda *told: shows.append(told))
    assert sweeps.finish() is True  # though no directory tells of a failure
    [rows] = tables
    assert [(row["job"], row["state"], row["value"], row["val/loss"], row["error"]) for row in rows] == [
        ("a", "refused", None, None, "is another run's"), ("b", "completed", 2.0, 2.0, None),
    ]  # fmt: skip
    [(shown_rows, folder, metrics, keys, note)] = shows
    assert (shown_rows, folder, metrics) == (rows, tmp_path, ["val/loss"])
    assert keys == ["optimizer.lr", "seed"]  # of the sweep file, though it has one value, and what was typed
    assert note.startswith("val/loss is measured at each job's own model.mask_ratio")


@pytest.mark.parametrize(("own", "group"), [(None, "sweep"), ("mine", "mine")])
def test_a_job_is_in_the_group_of_its_sweep_unless_another_was_given(
    monkeypatch: pytest.MonkeyPatch, own: str | None, group: str
) -> None:
    monkeypatch.setenv(sweep_names.SWEPT, json.dumps(["model.mask_ratio", "+notes", "seed"]))
    loggers = {"wandb": {"name": "mae"}, "mlflow": {"name": "my own"}, "csv": {}, "comet": {"name": "mae"}}
    config = OmegaConf.create({"name": "mae", "group": own, "logger": loggers})
    words = ["seed=1", "data.root=x", "model.mask_ratio=0.5"]
    sweep_names.name_job(config, Path("out/sweep/job"), words)
    assert config.group == group
    mine = {"name": "mask_ratio-0.5_seed-1"}
    assert config.logger == loggers | {"wandb": mine, "comet": mine}
    for notes, name in (("a=\n b\x1b[1m", "a= b"), ("x" * 200, "x" * 200)):  # a tracker shows it in one line
        config.logger.wandb.name = "mae"
        sweep_names.name_job(config, Path("out/sweep/job"), [*words, f"+notes={notes}"])
        assert config.logger.wandb.name == shortened(f"mask_ratio-0.5_notes-{name}_seed-1")
    assert len(config.logger.wandb.name) <= 130


def shown(
    capsys: pytest.CaptureFixture[str], *rows: dict[str, Any], keys: list[str], note: str = ""
) -> list[list[str]]:
    """The cells of the table that the console shows, line by line; then what stands below it."""
    whole = [{"state": "completed", "error": None, "seconds": 90.0, "val/loss": 0.5} | row for row in rows]
    sweeps.show(whole, Path("out/sweep"), ["val/loss"], keys, note)
    lines = capsys.readouterr().out.replace("┃", "│").splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] if "│" in line else [line] for line in lines]


def test_a_table_of_a_sweep_shows_zero_and_leaves_empty_what_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows: list[dict[str, Any]] = [
        {"optimizer.lr": 0, "seed": 0.123456, "val/loss": 0.0, "seconds": 0.0},
        {"optimizer.lr": None, "seed": False, "val/loss": None, "seconds": None, "state": "failed", "error": "it died"},
    ]
    found = shown(capsys, *rows, keys=["optimizer.lr", "seed"], note="they do not compare")
    assert [line for line in found if len(line) > 1] == [
        ["optimizer.lr", "seed", "state", "val/loss", "minutes", "error"],
        ["0", "0.1235", "completed", "0", "0.0", ""], ["", "false", "failed", "", "", "it died"],
    ]  # fmt: skip
    below = [line[0] for line in found if len(line) == 1]
    assert "note: they do not compare" in below
    assert below[-1].endswith("mae-hydra report out/sweep")
    assert not any("note:" in line[0] for line in shown(capsys, rows[0], keys=["seed"]))
    monkeypatch.chdir(tmp_path)
    assert not any("upload" in line[0] for line in shown(capsys, rows[0], keys=["seed"]))
    (tmp_path / "out/sweep/job/wandb/offline-run-1").mkdir(parents=True)
    last = shown(capsys, rows[0], keys=["seed"])[-1]
    assert last == ["to upload what W&B kept offline: wandb sync out/sweep/*/wandb/offline-run-*"]


def test_keys_are_cut_to_their_last_names_where_there_is_no_room_unless_two_end_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def heads(width: int, *keys: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        found = shown(capsys, dict.fromkeys(keys, 1), keys=list(keys))
        return next(line for line in found if len(line) > 1)[: len(keys)]

    keys = ("backbone.depth", "head.channels")
    needed = len(" | ".join([*keys, "completed", "val/loss", "minutes"])) + 4
    assert heads(needed, *keys) == list(keys)
    assert heads(needed - 1, *keys) == ["depth", "channels"]
    assert "depth" not in heads(40, "backbone.depth", "head.depth")  # but whole, over two lines


def test_commands_below_a_table_and_its_note_are_never_broken_and_the_sweep_stands_above(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out/sweep/wandb/offline-run-1").mkdir(parents=True)
    note = "they do not compare, however often this is said"
    first, *_, said, report, upload = shown(capsys, {"seed": 1}, keys=["seed"], note=note)
    assert (first[0].strip(), said) == ("out/sweep", [f"note: {note}"])
    assert report[0].endswith(": mae-hydra report out/sweep")
    assert upload[0].endswith(": wandb sync out/sweep/wandb/offline-run-*")


def test_a_job_has_ended_with_the_last_of_what_follows_it() -> None:
    def ended(*ends: float | None) -> float:
        first, *others = (Run(Path(), {"end": end}, {}, {}) for end in ends)
        return sweeps._ended(dataclasses.replace(first, stages={str(n): run for n, run in enumerate(others)}))

    assert [ended(5.0), ended(None), ended(5.0, 7.0, None), ended(5.0, 7.0, 3.0)] == [5.0, 0.0, 7.0, 7.0]


def test_errors_stand_in_the_table_from_a_hundred_columns_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"seed": n, "error": "it died", "state": "failed"} for n in (1, 2)]
    for width, below in ((100, 0), (99, 1)):  # once, however many say it
        monkeypatch.setenv("COLUMNS", str(width))
        found = shown(capsys, *rows, keys=["seed"])
        assert sum(line == ["failed: it died"] for line in found) == below
        assert ("error" in next(line for line in found if len(line) > 1)) is not bool(below)


def test_a_job_that_never_began_has_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "status.json").write_text(json.dumps({"state": "running", "overrides": ["seed=1"]}))
    hydra = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}, "sweeper": {"params": {"seed": "1,2"}}}})
    monkeypatch.setenv(sweep_names.SWEPT, "[]")
    monkeypatch.setattr(sweep_names, "tell_jobs", lambda config: None)
    sweeps.start()
    for _ in range(2):
        sweeps.NoteSweep().on_multirun_start(hydra)
    told = {"b": sweeps.Outcome("waiting", None, ["seed=2"]), "a": sweeps.Outcome("running", None, ["seed=1"])}
    sweeps.outcomes.update(told)
    assert sweeps.finish() is False
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [(row["job"], row["state"], row["seed"], row["overrides"]) for row in rows] == [
        ("a", "running", 1, ["seed=1"]), ("b", "waiting", 2, ["seed=2"]),
    ]  # fmt: skip
    assert sweep_names.SWEPT not in os.environ
    sweeps.outcomes["b"] = sweeps.Outcome("cancelled")
    assert sweeps.finish() is True  # of no sweep any more
    sweeps.start()
    assert sweeps.finish() is False
    (tmp_path / "results.json").unlink()
    sweeps.NoteSweep().on_multirun_start(hydra)
    sweeps.start()  # after one that broke off
    assert sweeps.finish() is False
    assert not (tmp_path / "results.json").exists()


def test_a_job_of_a_sweep_is_kept_without_its_configurations_and_a_single_run_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra's own launcher runs the jobs, as it does in a sweep of this process."""
    monkeypatch.chdir(tmp_path)
    ran: list[Any] = []

    def task(config: Any) -> None:
        ran.append((config.seed, HydraConfig.get().mode))

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        words = ["hydra.mode=MULTIRUN", "hydra.sweep.dir=jobs"]
        config = loader.load_configuration("config", words, RunMode.MULTIRUN)
        context = HydraContext(loader, Callbacks(config))
        launcher = BasicLauncher()
        launcher.setup(hydra_context=context, task_function=task, config=config)
        found = launcher.launch([["seed=1"], ["seed=2"]], 0)
        alone = loader.load_configuration("config", ["hydra.mode=RUN", "hydra.run.dir=run", "seed=3"], RunMode.RUN)
        kept = run_job(task, alone, "hydra.run.dir", None, context)
    assert ran == [(1, RunMode.MULTIRUN), (2, RunMode.MULTIRUN), (3, RunMode.RUN)]  # a job itself has its own
    assert [(each.overrides, each.status, each.cfg, each.hydra_cfg) for each in found] == [
        (["seed=1"], JobStatus.COMPLETED, None, None), (["seed=2"], JobStatus.COMPLETED, None, None),
    ]  # fmt: skip
    assert kept.cfg is not None
    assert kept.hydra_cfg is not None
    assert (kept.cfg.seed, kept.hydra_cfg.hydra.mode) == (3, RunMode.RUN)


def test_jobs_are_told_what_their_sweep_goes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sweep_names.SWEPT, "of before")
    task = ["seed=1,2", "model.mask_ratio=0.5", "+a.b=range(3)", "optimizer.lr=1,2"]
    hydra = {"overrides": {"task": task}, "sweeper": {"params": {"optimizer.lr": "1,2", "+loss.gain": "1"}}}
    sweep_names.tell_jobs(OmegaConf.create({"hydra": hydra}))
    assert json.loads(os.environ[sweep_names.SWEPT]) == ["optimizer.lr", "+loss.gain", "seed", "a.b"]
    hydra = {"overrides": {"task": ["seed=1"]}, "sweeper": {"params": None}}
    sweep_names.tell_jobs(OmegaConf.create({"hydra": hydra}))
    assert json.loads(os.environ[sweep_names.SWEPT]) == []


def test_a_run_of_no_sweep_keeps_its_name_and_what_follows_a_job_has_the_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(run: Path, name: str = "mae") -> Any:
        config = OmegaConf.create({"name": name, "group": None, "logger": {"wandb": {"name": name}}})
        sweep_names.name_job(config, run, ["seed=1"])
        return config.group, config.logger.wandb.name

    monkeypatch.delenv(sweep_names.SWEPT, raising=False)
    assert named(tmp_path / "one") == (None, "mae")
    job = tmp_path / "sweep/job"
    job.mkdir(parents=True)
    (job / "status.json").write_text("{}")
    loggers: dict[str, Any] = {"a": {"name": "mae"}, "b": {}, "c": None, "d": {"name": 5}, "e": {"name": "seed-1"}}
    for told, expected in (
        ({"name": "mae", "group": "lr", "logger": loggers}, ("lr", "seed-1/probe")),
        ({"name": "mae", "group": "lr", "logger": {"a": {"name": "mae"}}}, ("lr", "job/probe")),
        ({"name": "mae", "group": None, "logger": loggers}, (None, "mae")),
        ({"name": "mae", "group": ["lr"], "logger": loggers}, (None, "mae")),
        ({"name": "mae", "group": "lr", "logger": "wandb"}, ("lr", "job/probe")),
    ):
        (job / "config.yaml").write_text(json.dumps(told))
        assert named(job / "probe") == expected


def test_a_job_that_waits_or_runs_has_not_failed_and_any_other_has() -> None:
    states = ("waiting", "running", "refused", "cancelled", "timed out", "lost")
    assert [state for state in states if not sweeps.Outcome(state).failed] == ["waiting", "running"]


def test_room_is_asked_for_where_there_is_none_and_nowhere_else() -> None:
    assert isinstance(_unwritable(Path("run"), OSError(errno.EACCES, "Permission denied")), UserError)
    told = [
        str(_unwritable(Path("run"), OSError(number, "no"))) for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES)
    ]
    assert ["make room" in each for each in told] == [True, True, False]
