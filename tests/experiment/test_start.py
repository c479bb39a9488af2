"""What a start writes, and what of it goes again where nothing came of it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from mae_hydra.experiment import start
from mae_hydra.experiment.start import Start, discard_empty, discard_unbegun


def test_a_start_leaves_its_files_and_no_error_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "provenance", lambda: ({"git.diff": "+a"}, {"git.json": {"commit": "c"}}))
    (tmp_path / "error.txt").write_text("of the first attempt")
    whole: list[str] = []  # files of which nobody sees a half
    write = start.atomic.write_text
    monkeypatch.setattr(start.atomic, "write_text", lambda path, text: whole.append(path.name) or write(path, text))
    config = {"name": "Bäume", "a": {"c": 1, "b": [2]}}
    Start.of(config, ["name=Bäume", "a.c=1"], {"state": "running"}).write(tmp_path)
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert (yaml.safe_load(text), text.index("Bäume") < text.index("c: 1") < text.index("b:")) == (config, True)
    assert yaml.safe_load((tmp_path / "overrides.yaml").read_text(encoding="utf-8")) == ["name=Bäume", "a.c=1"]
    assert json.loads((tmp_path / "status.json").read_text()) == {"state": "running"}
    assert json.loads((tmp_path / "git.json").read_text()) == {"commit": "c"}
    assert (tmp_path / "git.diff").read_text() == "+a"
    assert sorted(whole) == ["config.yaml", "git.diff", "overrides.yaml"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.yaml", "overrides.yaml", "status.json", "git.json", "git.diff",
    }  # fmt: skip


FILES = (
    "status.json", "config.yaml", "overrides.yaml", "environment.json", "git.json", "git.diff", "data.json", ".lock",
    "parent.json", "starts.jsonl", "train.log", "error.txt", "metrics.jsonl",
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "files", "goes"),
    [
        ({}, dict.fromkeys(FILES, "") | {".heartbeat-1": "", ".heartbeat-12": ""}, True),
        ({}, {"train.log": "what was said", "config.yaml": "a: 1"}, True),
        ({}, {"metrics.jsonl": '{"step": 1}'}, False),  # it has trained
        *(({}, {name: ""}, False) for name in ("notes.txt", "results.json", ".notes")),  # a person's, or a later one
        ({}, {"checkpoints/last.pt": ""}, False),
        ({"state": "interrupted"}, {}, False),
        ({"attempt": 2}, {}, False),
        ({"pid": 1}, {}, False),  # of another process
    ],
)
def test_the_directory_of_a_mistake_goes_where_nothing_else_is_in_it(
    tmp_path: Path, status: dict[str, Any], files: dict[str, str], goes: bool
) -> None:
    run = tmp_path / "outputs/run"
    for name, text in files.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(text)
    run.mkdir(parents=True, exist_ok=True)
    (run / "status.json").write_text(json.dumps({"state": "failed", "attempt": 1, "pid": os.getpid()} | status))
    before = sorted(tmp_path.rglob("*"))
    discard_unbegun(run, tmp_path / "outputs")
    assert sorted(tmp_path.rglob("*")) == ([] if goes else before)
    if not goes:
        (run / "status.json").unlink()  # of which nothing is known
        discard_unbegun(run, tmp_path / "outputs")
        assert sorted(tmp_path.rglob("*")) == [path for path in before if path != run / "status.json"]


def test_a_stage_that_was_a_mistake_stays_for_the_table_of_the_run_that_it_follows(tmp_path: Path) -> None:
    for run in (tmp_path / "run", tmp_path / "run/probe"):
        run.mkdir()
        (run / "status.json").write_text(json.dumps({"state": "failed", "attempt": 1, "pid": os.getpid()}))
    discard_unbegun(tmp_path / "run/probe", tmp_path)
    assert (tmp_path / "run/probe/status.json").is_file()


def test_of_a_directory_that_hydra_made_only_an_empty_log_goes(tmp_path: Path) -> None:
    for name, files, goes in (
        ("a", {"train.log": ""}, True), ("b", {"train.log": "x"}, False), ("c", {"train.log": "", "d": ""}, False),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        discard_empty(tmp_path / name)
        assert (tmp_path / name).exists() is not goes
