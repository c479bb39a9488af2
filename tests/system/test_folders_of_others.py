"""Commands that are pointed at a folder with somebody's work in it."""

from pathlib import Path

import pytest
from conftest import TINY_MAE

from mae_hydra.commands import main
from mae_hydra.data.shards.write import index_shards
from mae_hydra.errors import UserError


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "metrics.jsonl"])
def test_a_run_is_refused_in_a_folder_that_holds_other_files_of_its_names(train, tmp_path, capsys, name):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / name).write_text("mine")
    assert train(*TINY_MAE, "hydra.run.dir=project") == 1
    assert f"project holds {name} and is no run" in capsys.readouterr().err
    found = contents(tmp_path / "project")
    found.pop("train.log")  # Hydra's, which is there before anything is looked at
    assert found == {name: "mine"}


def test_a_sweep_typed_without_m_removes_no_log_that_was_there(train, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.log").write_text("a year of notes\n")
    assert train(*TINY_MAE, "+sweep=mask_ratio", "hydra.run.dir=mine") == 1
    assert (tmp_path / "mine" / "train.log").read_text().startswith("a year of notes\n")


def test_a_list_of_something_else_is_not_taken_for_one_of_shards(tmp_path):
    (tmp_path / "shards.json").write_text('["my", "shards"]')
    with pytest.raises(UserError, match=r"shards.json is there and lists no shards; move it away"):
        index_shards(tmp_path)
    assert (tmp_path / "shards.json").read_text() == '["my", "shards"]'


def test_the_demo_and_the_audit_say_at_once_what_is_in_their_way(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("results.md", "report.json"):
        (tmp_path / "mine" / name).write_text("mine")
    assert main(["demo", "--out", "mine"]) == 1
    assert "mine/results.md is there, and it was not mae-hydra demo that wrote it" in capsys.readouterr().err
    assert main(["check-data", "data=scenes", "--out", "mine"]) == 1
    assert "mine/report.json is there, and it was not mae-hydra check-data that wrote it" in capsys.readouterr().err
    assert contents(tmp_path / "mine") == {"results.md": "mine", "report.json": "mine"}
