"""Files that are whole or not there, and what killed writers leave behind."""

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from mae_hydra import atomic
from mae_hydra.errors import UserError


@pytest.fixture(autouse=True)
def first_call(monkeypatch):
    """As in a process that has just begun."""
    monkeypatch.setattr(atomic, "_cleared", set())


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def in_a_process(work, *arguments) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def write_half(path: Path) -> None:
    with atomic.writing(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_goes_with_the_next_write_into_the_folder(tmp_path):
    (tmp_path / "file").write_text("old")
    for name in ("file", "another", "x" * 240):
        process = in_a_process(write_half, tmp_path / name)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert len(list(tmp_path.glob(".*.partial"))) == 1  # what the one before it left is gone
    atomic.write_text(tmp_path / "third", "new")
    assert contents(tmp_path) == {"file": "old", "third": "new"}


def write_slowly(path: Path, begun, may_end) -> None:
    with atomic.writing(path) as temporary:
        temporary.write_text("slow")
        begun.set()
        may_end.wait(20)


def test_what_a_living_process_writes_stays(tmp_path):
    """In this process, in another one, and on another machine, which cannot be asked."""
    context = multiprocessing.get_context("fork")
    begun, may_end = context.Event(), context.Event()
    process = in_a_process(write_slowly, tmp_path / "theirs", begun, may_end)
    assert begun.wait(20)
    elsewhere = tmp_path / ".file.01234567.89abcdef-1.partial"
    elsewhere.write_text("of another machine")
    with atomic.writing(tmp_path / "ours") as temporary:
        temporary.write_text("ours")
        atomic.clear_leftovers(tmp_path)
    may_end.set()
    process.join()
    assert process.exitcode == 0
    assert contents(tmp_path) == {"ours": "ours", "theirs": "slow", elsewhere.name: "of another machine"}
    for days, there in ((6.9, True), (7.1, False)):
        os.utime(elsewhere, (0, time.time() - days * 86_400))
        atomic.clear_leftovers(tmp_path)
        assert elsewhere.exists() is there


def test_what_a_process_of_somebody_else_writes_stays(tmp_path, monkeypatch):
    leftover = tmp_path / f".file.01234567.{atomic._machine()}-{os.getppid()}.partial"
    leftover.write_text("theirs")
    for error, there in ((PermissionError, True), (ProcessLookupError, False)):

        def refused(process, number, error=error):
            raise error

        monkeypatch.setattr(os, "kill", refused)
        atomic.clear_leftovers(tmp_path)
        assert leftover.exists() is there


@pytest.mark.parametrize("ahead", [-400 * 24 * 3600, 400 * 24 * 3600])
def test_a_clock_that_is_wrong_by_a_year_does_not_end_a_write(tmp_path, monkeypatch, ahead):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    with atomic.writing(tmp_path / "file") as temporary:
        temporary.write_text("whole")
        atomic.clear_leftovers(tmp_path)
    assert contents(tmp_path) == {"file": "whole"}


@pytest.mark.parametrize(
    "name", ["thesis.partial", ".thesis.partial", ".a.1234.partial", ".a.01234567.partial", "a.old"]
)
def test_what_only_looks_like_a_leftover_stays(tmp_path, name):
    (tmp_path / name).write_text("mine")
    os.utime(tmp_path / name, (0, 0))
    atomic.write_text(tmp_path / "file", "new")
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "道" * 85, "\udcff" * 255, "a\nb"])
def test_a_name_that_the_file_system_just_takes_can_be_written(tmp_path, name):
    atomic.write_text(tmp_path / name, "content")
    assert os.listdir(tmp_path) == [name]


def test_a_text_that_is_none_is_written_all_the_same(tmp_path):
    atomic.write_text(tmp_path / "file", "bad\udcff ä")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "bad\\udcff ä"


def write_folder(path: Path, names: str) -> None:
    with atomic.writing(path) as temporary:
        temporary.mkdir()
        for name in names:
            (temporary / name).write_text("new")


def test_a_folder_takes_the_place_of_another_and_what_else_was_in_that_is_kept(tmp_path):
    write_folder(tmp_path / "out", "ab")
    write_folder(tmp_path / "out", "ab")
    assert contents(tmp_path) == {"out/a": "new", "out/b": "new"}
    (tmp_path / "out" / "thesis").write_text("mine")
    for count in range(2):
        write_folder(tmp_path / "out", "ab")
        (tmp_path / "out" / "notes").write_text(str(count))
    assert contents(tmp_path / "out.old") == {"a": "new", "b": "new", "thesis": "mine"}
    assert contents(tmp_path / "out.old1") == {"a": "new", "b": "new", "notes": "0"}


def test_a_folder_is_there_at_any_moment_while_it_is_replaced(tmp_path):
    write_folder(tmp_path / "out", "ab")
    missing, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            if not (tmp_path / "out" / "a").exists():
                missing.append(time.monotonic())

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(20):
        write_folder(tmp_path / "out", "ab")
    stop.set()
    watcher.join()
    assert not missing


def test_a_rename_that_arrives_late_is_waited_for_by_nobody_and_breaks_nothing(tmp_path, monkeypatch):
    """On a network's file system other machines see it later: until then the old file is there, and it is whole."""
    replace, sent = os.replace, []

    def late(source, target):
        replace(source, f"{source}.travelling")
        sent.append((f"{source}.travelling", target))

    atomic.write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, "replace", late)
    atomic.write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    atomic.clear_leftovers(tmp_path)
    [rename] = sent
    replace(*rename)
    assert contents(tmp_path) == {"file": "new"}


def take_a_folder() -> None:
    with atomic.temporary_folder("test") as folder:
        (folder / "job.json").write_text("{}")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_parent_that_is_killed_leaves_no_folder_that_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    in_a_process(take_a_folder).join()
    assert len(os.listdir(tmp_path)) == 1
    with atomic.temporary_folder("test") as folder, atomic.temporary_folder("test") as other:
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, other.name}
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not os.listdir(tmp_path)


def test_every_file_and_the_name_are_on_the_disk_before_the_write_is_done(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(atomic, "sync", lambda path: synced.append((path, (tmp_path / "out").exists())))
    with atomic.writing(tmp_path / "out") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "a").touch()
    assert synced == [(temporary, False), (temporary / "deep", False), (temporary / "deep" / "a", False),
                      (tmp_path, True)]  # fmt: skip


def test_an_error_of_the_disk_names_the_file_and_not_its_temporary_name(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "sync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic.write_text(tmp_path / "file", "new")
    assert caught.value.filename == str(tmp_path / "file")
    assert not os.listdir(tmp_path)


def test_a_file_system_without_hard_links_gets_a_copy(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("content")
    atomic.link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")

    def refused(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    atomic.link(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").samefile(tmp_path / "a")
    assert contents(tmp_path) == {"a": "content", "b": "content"}


def test_without_an_exchange_in_one_step_a_folder_is_replaced_in_three(tmp_path, monkeypatch):
    def absent(name):
        raise AttributeError("renameat2")

    write_folder(tmp_path / "out", "abc")
    monkeypatch.setattr(atomic.ctypes, "CDLL", absent)
    write_folder(tmp_path / "out", "abc")
    assert os.listdir(tmp_path) == ["out"]
    assert contents(tmp_path) == {f"out/{name}": "new" for name in "abc"}


def test_a_place_that_takes_nothing_is_said_before_any_work_is_done(tmp_path, monkeypatch):
    """Asked is the folder that is there, or the nearest one above what is to be made; a file is none."""
    (tmp_path / "file").touch()
    refused = os.W_OK
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == tmp_path and mode & refused))
    for name in ("file", "file/new/deep"):
        with pytest.raises(UserError, match=f"cannot write to .*: {tmp_path}/file is a file; go elsewhere"):
            atomic.check_writable(tmp_path / name, "go elsewhere")
    for name in ("new", "new/deep/folder", "."):
        with pytest.raises(UserError, match=f"cannot write to .*: {tmp_path} may not be written to; go elsewhere"):
            atomic.check_writable(tmp_path / name, "go elsewhere")
    (tmp_path / "sub").mkdir()
    atomic.check_writable(tmp_path / "sub", "go elsewhere")
    refused = os.X_OK
    with pytest.raises(UserError):
        atomic.check_writable(tmp_path / "new", "go elsewhere")


def test_a_leftover_of_an_earlier_process_of_the_same_number_goes_and_what_it_links_to_stays(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")
    (tmp_path / f".a.01234567.{atomic._machine()}-{os.getpid()}.partial").symlink_to(tmp_path / "kept")
    atomic.clear_leftovers(tmp_path)
    assert contents(tmp_path) == {"kept/file": "mine"}
    assert os.listdir(tmp_path) == ["kept"]


def test_two_long_names_that_begin_alike_are_written_side_by_side(tmp_path):
    names = ["x" * 50 + end for end in "ab"]
    with atomic.writing(tmp_path / names[0]) as first, atomic.writing(tmp_path / names[1]) as second:
        first.write_text("a")
        second.write_text("b")
    assert contents(tmp_path) == dict(zip(names, "ab", strict=True))


def test_what_a_kill_left_in_a_folder_is_lost_with_it_and_no_name_of_before_is_taken_twice(tmp_path):
    write_folder(tmp_path / "out", "ab")
    (tmp_path / "out" / f".a.01234567.{atomic._machine()}-1.partial").write_text("half")
    write_folder(tmp_path / "out", "ab")
    assert os.listdir(tmp_path) == ["out"]
    (tmp_path / "out" / "thesis").write_text("mine")
    (tmp_path / "out.old").symlink_to("nowhere")
    write_folder(tmp_path / "out", "ab")
    assert contents(tmp_path / "out.old1") == {"a": "new", "b": "new", "thesis": "mine"}
    assert os.readlink(tmp_path / "out.old") == "nowhere"


def test_machines_their_starts_and_their_containers_are_told_apart(monkeypatch):
    def named(host="a", space="pid:[1]", boot="x"):
        monkeypatch.setattr(atomic.socket, "gethostname", lambda: host)
        monkeypatch.setattr(os, "readlink", lambda path: {"/proc/self/ns/pid": space}[path])
        monkeypatch.setattr(Path, "read_text", lambda path: {"/proc/sys/kernel/random/boot_id": boot}[str(path)])
        return atomic._machine.__wrapped__()

    assert named() == named()
    found = [named(), named(host="b"), named(space="pid:[2]"), named(boot="y")]
    assert len(set(found)) == 4
    assert {len(name) for name in found} == {8}
