"""`mae-hydra new` writes a package that runs as it is."""

from pathlib import Path

import forked
import pytest
from page import PROJECT

from mae_hydra.commands import main


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def test_it_is_the_package_of_the_docs_under_another_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "our_lab"]) == 0
    assert "--config-dir our_lab/conf +experiment=our_lab" in capsys.readouterr().out
    assert files(tmp_path / "our_lab") == {name.replace("mylab", "our_lab") for name in files(PROJECT)}
    assert not [name for name in files(tmp_path / "our_lab") if "mylab" in (tmp_path / "our_lab" / name).read_text()]


@pytest.mark.parametrize(
    ("name", "words"), [("torch", "already"), ("My-Lab", "small letters"), ("class", "small letters")]
)
def test_a_name_that_cannot_be_is_refused(tmp_path, monkeypatch, capsys, name, words):
    monkeypatch.chdir(tmp_path)
    assert main(["new", name]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "our_lab").mkdir()
    (tmp_path / "our_lab" / "mine.txt").write_text("mine")
    assert main(["new", "our_lab"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert files(tmp_path) == {"our_lab/mine.txt"}


@pytest.mark.slow
def test_what_it_writes_passes_its_own_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "our_lab"]) == 0
    said = forked.run(tmp_path / "our_lab", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert said.returncode == 0, said.stdout
    assert "6 passed" in said.stdout
