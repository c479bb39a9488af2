"""What a person is told of a disk that does not take, or give, their files."""

import errno
import os
from pathlib import Path

import pytest

from mae_hydra.errors import short, unwritable


def failed(number: int, name: str | bytes | None = "/out/file") -> OSError:
    return OSError(number, os.strerror(number), name)


def caused_by(cause: BaseException, *, told: bool) -> BaseException:
    """As a library raises an error of its own: `from` the cause, or while it was handled."""
    try:
        try:
            raise cause
        except OSError as error:
            if told:
                raise RuntimeError("zip writer failed") from error
            raise RuntimeError("zip writer failed")  # noqa: B904
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (failed(errno.ENOSPC), "cannot write /out/file: No space left on device; make room, or W"),
        (failed(errno.EDQUOT), "cannot write /out/file: Disk quota exceeded; make room, or W"),
        (failed(errno.EROFS), "cannot write /out/file: Read-only file system; W"),
        (failed(errno.EACCES, b"/out/b"), "cannot write /out/b: Permission denied; W"),
        (failed(errno.EPERM), "cannot write /out/file: Operation not permitted; W"),
        (failed(errno.ENAMETOOLONG), "cannot write /out/file: File name too long; W"),
        (failed(errno.EEXIST), "cannot write /out/file: File exists; W"),
        (failed(errno.ENOTDIR), "cannot write /out/file: Not a directory; W"),
        (failed(errno.EISDIR), "cannot write /out/file: Is a directory; W"),
        (failed(errno.ENOSPC, None), "cannot write a file: No space left on device; make room, or W"),
        (failed(errno.EROFS, "/out/.file.0.partial"), "cannot write /out: Read-only file system; W"),
        (caused_by(failed(errno.EROFS), told=True), "cannot write /out/file: Read-only file system; W"),
        (caused_by(failed(errno.EROFS), told=False), "cannot write /out/file: Read-only file system; W"),
        (failed(errno.ENOENT), None),
        (failed(errno.EIO), None),
        (ValueError("a defect"), None),
    ],
)
def test_a_place_that_takes_nothing_is_named_with_the_way_out(error: BaseException, said: str | None) -> None:
    assert unwritable(error, "W") == said


def test_a_file_that_may_not_be_read_is_not_said_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    for name, said in (
        ("mine", "{} may not be read (Permission denied)"),
        ("new", "cannot write {}: Permission denied; W"),
    ):
        place = tmp_path / name
        assert unwritable(failed(errno.EACCES, str(place)), "W") == said.format(place)


def test_a_text_from_a_file_is_cut_to_what_a_sentence_carries() -> None:
    assert [short(text, 3) for text in ("abc", "abcd", "\x1b[m", 1234)] == ["abc", "abc…", "", "123…"]
    assert (len(short("x" * 120)), len(short("x" * 121))) == (120, 121)
