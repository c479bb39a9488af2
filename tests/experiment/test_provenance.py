"""Where the code of a run came from, in repositories made for it."""

import subprocess
from pathlib import Path

import pytest

from mae_hydra.configuration.from_file import read_json
from mae_hydra.experiment import provenance
from mae_hydra.experiment.start import Start


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in the place of this program's."""
    root = tmp_path / "source"
    root.mkdir()
    (root / "model.py").write_text("depth = 12\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(root)]
    for words in (["init", "-q", "-b", "trunk"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "SOURCE", root)
    return root


def run_in(folder: Path) -> Path:
    folder.mkdir()
    Start.of({}, [], {}).write(folder)
    return folder


def test_what_differs_from_the_commit_is_kept_with_the_run(source: Path, tmp_path: Path) -> None:
    clean = run_in(tmp_path / "clean")
    assert (clean / "git.diff").read_text() == ""
    state = read_json(clean / "git.json")
    assert state == {"commit": state["commit"], "branch": "trunk", "dirty": False}
    assert len(state["commit"]) == 40
    (source / "model.py").write_text("depth = 24\n")
    changed = run_in(tmp_path / "changed")
    assert read_json(changed / "git.json") == state | {"dirty": True}
    assert "-depth = 12\n+depth = 24" in (changed / "git.diff").read_text()


def test_a_complete_run_knows_whether_the_code_has_changed_since(source: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path / "run")
    assert provenance.changed_code(run) is None
    (source / "model.py").write_text("depth = 24\n")
    assert provenance.changed_code(run) == "uncommitted changes then and now differ"
    subprocess.run(["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "second"])
    assert (provenance.changed_code(run) or "").startswith("commit ")
