"""Folders in which both a command and a person write."""

from pathlib import Path

import pytest

from mae_hydra.errors import UserError
from mae_hydra.owned import Owned


def written(folder: Path, *names: str) -> None:
    owned = Owned(folder, "test")
    for name in names:
        path = owned.claim(folder / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ours")


def test_a_command_replaces_its_own_files_and_refuses_others(tmp_path):
    written(tmp_path, "a", "folder/b\n\udcff")
    written(tmp_path, "a", "folder/b\n\udcff")
    (tmp_path / "c").write_text("mine")
    with pytest.raises(
        UserError, match=r"c is there, and it was not mae-hydra test that wrote it; give another folder"
    ):
        Owned(tmp_path, "test").claim(tmp_path / "c")
    with pytest.raises(UserError, match="it was not mae-hydra other"):
        Owned(tmp_path, "other").claim(tmp_path / "a")
    Owned(tmp_path, "test", trusted=True).claim(tmp_path / "c")


def test_a_command_removes_its_own_files_and_the_folders_that_are_empty_then(tmp_path):
    written(tmp_path, "a", "folder/deep/b", "shared/c")
    (tmp_path / "shared" / "mine").write_text("mine")
    Owned(tmp_path, "test").clear()
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        ".mae-hydra-test",
        "shared",
        "shared/mine",
    ]
    (tmp_path / "a").write_text("mine, later")
    with pytest.raises(UserError):
        Owned(tmp_path, "test").claim(tmp_path / "a")


def test_two_processes_that_write_into_one_folder_both_keep_their_lists(tmp_path):
    first, second = Owned(tmp_path, "test"), Owned(tmp_path, "test")
    for number in range(5):
        first.claim(tmp_path / f"first{number}")
        second.claim(tmp_path / f"second{number}")
    with open(first.path, "ab") as file:
        file.write(b'\n"torn by a kil')
    first.claim(tmp_path / "last")
    found = Owned(tmp_path, "test")
    assert all(tmp_path / f"{who}{number}" in found for who in ("first", "second") for number in range(5))
    assert tmp_path / "last" in found
