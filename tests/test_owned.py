"""Folders in which both a command and a person write."""

import json
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
    (tmp_path / "link").symlink_to("nowhere")  # what is written there would lie elsewhere
    with pytest.raises(UserError, match="link is there, and it was not mae-hydra test"):
        Owned(tmp_path, "test").check(tmp_path / "link")
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
    owned = Owned(tmp_path, "test")
    for _ in range(2):  # what was cleared is written anew, and listed anew
        owned.claim(tmp_path / "b")
        assert tmp_path / "b" in Owned(tmp_path, "test")
        owned.clear()


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


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_list_that_somebody_else_wrote_removes_nothing_outside_of_its_folder(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("mine")
    folder = tmp_path / "folder"
    written(folder, "a", "deep/b")
    (folder / "link").symlink_to(precious)
    (folder / "up").symlink_to("..")
    before = tree(tmp_path / "precious")
    names: list[object] = [
        "../precious/thesis", str(precious / "thesis"), "link/thesis", "up/precious/thesis",
        "deep/../../precious/thesis", "", ".", "..", "\0", "deep", 5, None, ["a"], {"a": 1}, "missing/thesis",
        "a" * 5000,
    ]  # fmt: skip
    with open(folder / ".mae-hydra-test", "ab") as listing:
        listing.write(b"".join(json.dumps(name).encode() + b"\n" for name in names) + b"[" * 100_000 + b"\n")
    owned = Owned(folder, "test")
    for path in (folder / "link" / "thesis", folder / "up" / "precious" / "thesis"):
        with pytest.raises(UserError, match="it was not mae-hydra test that wrote it"):
            owned.check(path)
    owned.clear()
    assert tree(precious) == before
    assert tree(folder) == {".mae-hydra-test": b""}


def test_a_name_that_climbs_is_not_the_commands_even_where_it_comes_back(tmp_path):
    """What lies on its way may be a link by the time that it is used."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "a").write_text("mine")
    (tmp_path / ".mae-hydra-test").write_bytes(b'"deep/../a"\n')
    Owned(tmp_path, "test").clear()
    assert (tmp_path / "a").read_text() == "mine"


def test_a_folder_that_a_person_made_where_a_file_was_stays(tmp_path):
    written(tmp_path, "a")
    (tmp_path / "a").unlink()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").write_text("mine")
    Owned(tmp_path, "test").clear()
    assert (tmp_path / "a" / "mine").read_text() == "mine"


def test_a_list_that_is_a_link_is_neither_read_nor_emptied(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "notes").write_text("mine")
    for make in (lambda path: path.symlink_to(tmp_path / "notes"), Path.mkdir):
        make(folder / ".mae-hydra-test")
        with pytest.raises(UserError, match="not the list that mae-hydra test writes; remove it, or give another"):
            Owned(folder, "test")
        assert (tmp_path / "notes").read_text() == "mine"
        if (folder / ".mae-hydra-test").is_symlink():
            (folder / ".mae-hydra-test").unlink()
