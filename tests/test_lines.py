"""Lines of JSON on a disk that does what it wants."""

import errno
import json
import os
from pathlib import Path

import pytest

from mae_hydra import lines
from mae_hydra.lines import GrowingFile, of_a_step, read_lines, read_marked

GOOD = [{"step": 10, "x": 0.5}, {"step": 30, "x": 0.25}]


@pytest.mark.parametrize(
    "damage",
    [
        b'{"step": 20, "x": 0.\n',
        b'{"step": 20, "x": 0.{"step": 20, "x": 1}\n',
        b"\0" * 4096 + b"\n",
        b"\xff\xfe{}\n",
        b'{"step": 20, "x": "\xe9"}\n',
        b"[" * 100_000 + b"\n",
        b"[1, 2]\n",
        b"null\n",
        b'{"x": 1}\n',
        b'{"step": "20"}\n',
        b'{"step": 20, "x": "much"}\n',
        b'{"step": 20, "x": 1e301}\n',
        b'{"step": 20, "x": -1e301}\n',
        b'{"step": true}\n',
        b"\n",
    ],
    ids=lambda damage: repr(damage[:30]),
)
def test_a_damaged_line_costs_itself_alone(tmp_path, damage):
    first, last = (json.dumps(row).encode() + b"\n" for row in GOOD)
    for content in (damage + first + last, first + damage + last, first + last + damage):
        (tmp_path / "file").write_bytes(content)
        assert read_lines(tmp_path / "file", of_a_step) == (GOOD, 1)


@pytest.mark.parametrize("end", [b"", b'{"x": 1}\n', b'{"step": "40"}\n', b"[1]\n", b'{"step": 4'])
def test_the_last_whole_line_of_a_step_comes_with_the_marked_ones(tmp_path, end):
    rows = [{"step": 10, "val/x": 1}, {"step": 20, "x": 2}, {"step": 30, "x": 3}]
    for count, found in ((3, [rows[0], rows[2]]), (1, rows[:1]), (0, [])):
        (tmp_path / "file").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows[:count]) + end)
        assert read_marked(tmp_path / "file", b'"val/', of_a_step) == found


def test_a_line_behind_nulls_counts_and_a_half_one_at_the_end_is_no_damage(tmp_path):
    """A machine that went down has left room for a write that never came; a run under way is read at any moment."""
    whole = b"\0" * 512 + json.dumps(GOOD[0]).encode() + b"\n"
    (tmp_path / "file").write_bytes(whole + b'{"step": 3')
    assert read_lines(tmp_path / "file", of_a_step) == (GOOD[:1], 0)
    assert read_lines(tmp_path / "nowhere") == ([], 0)


@pytest.mark.parametrize(
    ("last", "found", "any_object"),
    [
        (b'{"step": 40}', [{"step": 40}], [{"step": 40}]),
        (b'\0\0{"step": 40}', [{"step": 40}], [{"step": 40}]),
        (b'{"x": 1}', [], [{"x": 1}]),
        (b'{"step": "40"}', [], [{"step": "40"}]),
        (b"[1]", [], []),
        (b"null", [], []),
        (b"", [], []),
    ],
)
def test_a_last_line_without_its_break_counts_where_it_is_whole_and_fits(tmp_path, last, found, any_object):
    (tmp_path / "file").write_bytes(json.dumps(GOOD[0]).encode() + b"\n" + last)
    assert read_lines(tmp_path / "file", of_a_step) == (GOOD[:1] + found, 0)
    assert read_lines(tmp_path / "file") == (GOOD[:1] + any_object, 0)


def test_what_a_disk_does_not_take_is_written_later_and_in_order(tmp_path, monkeypatch):
    """A write that fails may also have left half of its bytes."""
    file = GrowingFile(tmp_path / "file")
    full = False
    original = os.open

    class Filling:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, content: bytes):
            if full:
                self._file.write(content[: len(content) // 2])
                self._file.flush()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file.write(content)

    monkeypatch.setattr(lines, "open", lambda *arguments: Filling(open(*arguments)), raising=False)  # noqa: SIM115
    for number in range(30):
        full = number % 10 in (3, 4, 5)
        file.add(b"line %02d\n" % number)
        if number % 2:
            file.change_last(b"line %02d, with more\n" % number)
        assert bool(file.unwritten) == full
    wanted = [f"line {number:02d}{', with more' if number % 2 else ''}" for number in range(30)]
    assert (tmp_path / "file").read_text().splitlines() == wanted
    assert original is os.open


def test_a_file_that_is_gone_on_with_keeps_its_whole_lines(tmp_path):
    (tmp_path / "file").write_bytes(b"one\ntwo\nthr")
    file = GrowingFile.behind(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\nthr"  # nothing is touched before there is something to say
    file.add(b"three\n")
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\nthree\n"


def test_a_folder_that_is_gone_is_an_error_to_be_told_and_none_to_be_raised(tmp_path: Path):
    file = GrowingFile(tmp_path / "gone" / "file")
    file.add(b"one\n")
    assert isinstance(file.error, FileNotFoundError)
    (tmp_path / "gone").mkdir()
    file.add(b"two\n")
    assert file.error is None
    assert (tmp_path / "gone" / "file").read_bytes() == b"one\ntwo\n"


def test_a_file_that_somebody_has_emptied_is_gone_on_with_from_there(tmp_path: Path):
    file = GrowingFile(tmp_path / "file")
    for line in (b"one\n", b"two\n", b"three\n"):
        file.add(line)
    (tmp_path / "file").write_bytes(b"")
    file.add(b"four\n")
    assert (tmp_path / "file").read_bytes() == b"three\nfour\n"  # the last one may still have changed


def test_what_is_not_on_the_disk_is_known_and_so_is_the_whole(tmp_path: Path, monkeypatch):
    file = GrowingFile(tmp_path / "file")
    file.add(b"one\n")
    file.add(b"two\n")
    assert (file.unwritten, file.whole()) == ([], b"one\ntwo\n")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", full)
    file.change_last(b"two, changed\n")
    file.add(b"three\n")
    monkeypatch.undo()
    with (tmp_path / "file").open("ab") as half:
        half.write(b"thr")  # what the write that failed has left
    assert file.unwritten == [b"two, changed\n", b"three\n"]
    assert file.whole() == b"one\ntwo, changed\nthree\n"
