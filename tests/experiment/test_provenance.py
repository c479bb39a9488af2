"""Where the code of a run came from, in repositories made for it."""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from raising import raising

from mae_hydra.configuration.from_file import read_json
from mae_hydra.experiment import provenance
from mae_hydra.experiment.start import Start
from mae_hydra.weights import Checkpoint


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
    subprocess.run(["git", "-C", str(source), "add", "model.py"], check=True)  # which may have been staged
    changed = run_in(tmp_path / "changed")
    assert read_json(changed / "git.json") == state | {"dirty": True}
    assert "-depth = 12\n+depth = 24" in (changed / "git.diff").read_text()


def test_new_files_count_where_they_are_code_or_configuration(source: Path, tmp_path: Path) -> None:
    (source / ".git/info/exclude").write_text("ignored.py\n")
    for name in ("CamVid/train/a.png", "notes.py", "mae_hydra/plot.png", "mae_hydra/ignored.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("new\n")
    assert provenance.git_state()["dirty"] is False
    run = run_in(tmp_path / "run")
    assert (run / "git.diff").read_text() == ""
    new = ("mae_hydra/models/mine.py", "mae_hydra/labels.yaml", "conf/model/mine.yaml")
    for name in new:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"of = '{name}'\n")
    assert provenance.git_state()["dirty"] is True
    assert provenance.changed_code(run) == "uncommitted changes then and now differ"
    text = (run_in(tmp_path / "other") / "git.diff").read_text()
    assert all(f"+++ b/{name}" in text and f"+of = '{name}'" in text for name in new)
    assert provenance.changed_code(tmp_path / "other") is None
    (source / new[0]).write_text("of = 'another'\n")  # changes there were then, too, but not these
    assert provenance.changed_code(tmp_path / "other") == "uncommitted changes then and now differ"
    (tmp_path / "other/git.diff").write_bytes(b"+\xff\n")
    assert provenance.changed_code(tmp_path / "other") == "uncommitted changes then and now differ"
    (tmp_path / "other/git.diff").unlink()
    assert provenance.changed_code(tmp_path / "other") == "uncommitted changes then and now differ"


def test_a_complete_run_knows_whether_the_code_has_changed_since(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path / "run")
    assert provenance.changed_code(run) is None
    (source / "model.py").write_text("depth = 24\n")
    assert provenance.changed_code(run) == "uncommitted changes then and now differ"
    subprocess.run(["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "second"])
    then, now = read_json(run / "git.json")["commit"], provenance.git_state()["commit"]
    assert provenance.changed_code(run) == f"commit {then[:9]} then, {now[:9]} now"
    assert provenance.changed_code(tmp_path) is None  # which holds no run
    (source / ".git").rename(source / "model.git")  # as an installed package lies, perhaps in a repository of others
    assert provenance.changed_code(run) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert provenance.git_state() == {"commit": None, "branch": None, "dirty": None}


def test_what_is_known_before_anything_is_built_is_two_tables_and_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "a"})
    monkeypatch.setattr(provenance, "environment", lambda: {"host": "here"})
    monkeypatch.setattr(provenance, "composition", lambda: {"config_name": "mine"})
    for difference in ("-a\n+b", None):
        monkeypatch.setattr(provenance, "_difference", lambda difference=difference: difference)
        assert provenance.provenance() == (
            {"git.diff": difference or ""},
            {"environment.json": {"host": "here", "config_name": "mine"}, "git.json": {"commit": "a"}},
        )


def test_the_environment_tells_what_decides_a_run_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in provenance.os.environ:
        if name.startswith(provenance.VARIABLES):
            monkeypatch.delenv(name)
    told = {"MAE_HYDRA_DATA": "/data", "CUDA_VISIBLE_DEVICES": "3", "NCCL_DEBUG": "INFO", "SLURM_JOB_ID": "7",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2",
            "PYTORCH_CUDA_ALLOC_CONF": "x"}  # fmt: skip
    secret = {"MAE_HYDRA_API_KEY": "x", "NCCL_AUTH_TOKEN": "x", "SLURM_JOB_PASSWORD": "x", "OMP_SECRETS": "x",
              "MKL_CREDENTIAL": "x", "PYTORCH_credential": "x", "HOME_OF_OMP_": "x"}  # fmt: skip
    for name, value in (told | secret).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance.sys, "argv", ["train.py", "seed=1"])
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = provenance.environment()
    finally:
        torch.set_num_threads(threads)
    assert found["variables"] == told
    assert found["command"] == [sys.executable, "train.py", "seed=1"]
    assert (found["folder"], found["threads"], found["cpus"]) == (str(tmp_path), 3, provenance.os.cpu_count())
    assert found["packages"]["torch"] == importlib.metadata.version("torch")
    assert set(found["packages"]) == set(provenance.PACKAGES)
    assert provenance._version("no-such-package-of-anybody") is None


class Photos:
    """A set of images on files."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError

    def listing(self) -> str:
        return f"listing of {self.count}"


def test_a_checkpoint_tells_of_its_making_from_the_files_of_its_run(tmp_path: Path) -> None:
    for name in ("git", "environment", "parent"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"commit" if name == "git" else "folder": f"of {name}"}))
    embedded: Any = [1, 2]
    data: Any = SimpleNamespace(train=Photos(5), validation=embedded, pixel_range=None)
    measured = SimpleNamespace(train=embedded, validation=embedded, pixel_range=SimpleNamespace(pairs=lambda: [[0, 9]]))
    assert provenance.origin_of(tmp_path, measured, 7)["data"]["range"] == [[0, 9]]  # type: ignore[arg-type]
    assert provenance.origin_of(tmp_path, data, 7) == {
        "git": {"commit": "of git"}, "environment": {"folder": "of environment"}, "seed": 7,
        "data": {"train": {"images": 5, "listing": "listing of 5"}, "validation": {"images": 2, "listing": "embedded"},
                 "range": None},
        "parent": {"folder": "of parent"},
    }  # fmt: skip


def test_a_file_that_a_run_began_from_is_known_by_its_content_and_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    for part, path in (("", tmp_path / "a.pt"), ("ema", Path("a.pt"))):  # and from everywhere
        found = provenance.parent_of(Checkpoint({}, {"step": 4}, "", path, part=part))
        digest = hashlib.sha256(b"weights").hexdigest()
        assert found == {"path": str(tmp_path / "a.pt"), "sha256": digest, "step": 4} | ({"part": part} if part else {})


def test_a_folder_of_weights_is_known_by_the_names_and_contents_of_its_files(tmp_path: Path) -> None:
    """As `(cd FOLDER; sha256sum * | sha256sum)` has it."""
    (tmp_path / "b.bin").write_bytes(b"weights")
    (tmp_path / "a.json").write_bytes(b"{}")
    (tmp_path / ".cache").write_bytes(b"of no matter")
    (tmp_path / "more").mkdir()
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in
             (("a.json", b"{}"), ("b.bin", b"weights"))]  # fmt: skip
    assert provenance.sha256_of(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_weights_by_name_are_known_by_it_and_by_their_commit_where_they_have_one(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    for name, revision in (("", None), ("hf:a/b", "0123"), ("https://a.example/b.pt", None)):
        found = provenance.parent_of(Checkpoint({}, {}, "", tmp_path / "a.pt", name=name, revision=revision))
        told = {"path": str(tmp_path / "a.pt"), "sha256": hashlib.sha256(b"weights").hexdigest(), "step": None}
        assert found == told | ({"name": name, "revision": revision} if name else {})


def test_the_option_files_of_a_run_are_told_without_those_of_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance.HydraConfig.instance(), "cfg", None)
    assert provenance.composition() == {}
    choices = {"data": "mine", "hydra/launcher": "gpus", "hydra/job_logging": "default", "model@head": "uper"}
    told: Any = SimpleNamespace(job=SimpleNamespace(config_name="own"), runtime=SimpleNamespace(choices=choices))
    monkeypatch.setattr(provenance.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(provenance.HydraConfig, "get", lambda: told)
    monkeypatch.setattr(provenance, "own_sources", lambda: [SimpleNamespace(schema="file", path="/a"), 5])
    monkeypatch.setattr(provenance, "folder_of", lambda source: f"folder of {getattr(source, 'path', source)}")
    assert provenance.composition() == {
        "config_name": "own", "config_folders": ["folder of /a", "folder of 5"],
        "choices": {"data": "mine", "model@head": "uper"},
    }  # fmt: skip


def test_a_git_that_does_not_answer_tells_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (subprocess.TimeoutExpired("git", 20), FileNotFoundError("git")):
        monkeypatch.setattr(subprocess, "run", raising(error))
        assert provenance.git_state() == {"commit": None, "branch": None, "dirty": None}


def test_a_run_is_not_compared_with_code_of_which_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for then, now, said in (("a", None, None), (None, "a", None), ("a" * 40, "b" * 40, "commit aaaaaaaaa then, ")):
        monkeypatch.setattr(provenance, "git_state", lambda now=now: {"commit": now})
        (tmp_path / "git.json").write_text(json.dumps({"commit": then}))
        found = provenance.changed_code(tmp_path)
        assert found is None if said is None else (found or "").startswith(said)
