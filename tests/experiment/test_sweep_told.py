"""What a sweep says of its table where that cannot be written."""

import errno
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.experiment import sweep_names, sweeps
from mae_hydra.experiment.holder import _unwritable


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
        ("completed", 60.0, 60.0, False),
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
        told = {"state": "completed", "value": value, "start": 10.0, "end": 20.0}
        (tmp_path / name / "status.json").write_text(json.dumps(told))
    hydra = SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path)), sweeper=SimpleNamespace(params=None))
    monkeypatch.setattr(sweeps, "_current", [(SimpleNamespace(hydra=hydra), 0.0)])
    monkeypatch.setattr(sweeps, "outcomes", {"a": sweeps.Outcome("refused", "is another run's")})
    tables: list[Any] = []
    monkeypatch.setattr(sweeps, "write_table", lambda rows, folder: tables.append(rows))
    sweeps.finish()
    [rows] = tables
    assert [(row["job"], row["state"], row["value"], row["error"]) for row in rows] == [
        ("a", "refused", None, "is another run's"), ("b", "completed", 2.0, rows[1]["error"]),
    ]  # fmt: skip
    assert rows[1]["error"] != "is another run's"


@pytest.mark.parametrize(("own", "group"), [(None, "sweep"), ("mine", "mine")])
def test_a_job_is_in_the_group_of_its_sweep_unless_another_was_given(
    monkeypatch: pytest.MonkeyPatch, own: str | None, group: str
) -> None:
    monkeypatch.setenv(sweep_names.SWEPT, json.dumps(["model.mask_ratio", "seed"]))
    loggers = {"wandb": {"name": "mae"}, "mlflow": {"name": "my own"}, "csv": {}}
    config = OmegaConf.create({"name": "mae", "group": own, "logger": loggers})
    sweep_names.name_job(config, Path("out/sweep/job"), ["seed=1", "data.root=x", "model.mask_ratio=0.5"])
    assert config.group == group
    assert config.logger == {"wandb": {"name": "mask_ratio-0.5_seed-1"}, "mlflow": {"name": "my own"}, "csv": {}}


def test_a_job_that_waits_or_runs_has_not_failed_and_any_other_has() -> None:
    states = ("waiting", "running", "refused", "cancelled", "timed out", "lost")
    assert [state for state in states if not sweeps.Outcome(state).failed] == ["waiting", "running"]


def test_room_is_asked_for_where_there_is_none_and_nowhere_else() -> None:
    assert isinstance(_unwritable(Path("run"), OSError(errno.EACCES, "Permission denied")), UserError)
    told = [
        str(_unwritable(Path("run"), OSError(number, "no"))) for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES)
    ]
    assert ["make room" in each for each in told] == [True, True, False]
