"""What `--out` names is looked at before any work, whichever the command."""

import argparse
import importlib
from pathlib import Path

import pytest

from mae_hydra.commands import TO_A_FILE, VERBS, main

WORDS = {
    "benchmark": ["step"], "check-data": ["."], "compare": ["a", "b"], "dashboard": ["--entity", "us"], "demo": [],
    "evaluate": ["run"], "new": ["our_lab"], "plan": [], "predict": ["run", "a.png"], "report": ["."], "study": [],
}  # fmt: skip


def takes_a_place(verb: str) -> bool:
    parser = argparse.ArgumentParser(f"mae-hydra {verb}")
    importlib.import_module(f"mae_hydra.commands.{VERBS[verb][0]}").arguments(parser)
    return "--out " in parser.format_usage()


def test_every_command_refuses_a_place_that_takes_nothing_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(filter(takes_a_place, set(VERBS) - {"train"})) == set(WORDS)  # whose words are Hydra's
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    found = {}
    for verb, words in WORDS.items():
        wrong = ["file/x/y", "folder" if verb in TO_A_FILE else "file"]
        codes = [main([verb, *words, "--out", place]) for place in wrong]
        found[verb] = (codes, [line.partition(f"{tmp_path}/")[2] for line in capsys.readouterr().err.splitlines()])
    folder = ([1, 1], ["file is a file; give another folder with --out"] * 2)
    assert {verb: each for verb, each in found.items() if verb not in TO_A_FILE} == dict.fromkeys(
        set(WORDS) - set(TO_A_FILE), folder
    )
    of_a_file = ([1, 1], ["file is a file; give another place with --out", ""])
    assert {verb: found[verb] for verb in TO_A_FILE} == dict.fromkeys(TO_A_FILE, of_a_file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
