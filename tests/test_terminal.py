"""What is told to people: lines that fit, units that a person reads, and streams that never end a program."""

import io
import os
from typing import Any

import pytest

from mae_hydra.terminal import ago, filled, in_words, lasting_streams, say_error, watched


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_a_time_has_the_unit_in_which_it_is_read() -> None:
    seconds = (None, 0, 118.6, 119.4, 120, 172, 7199, 7200, 10_200, 172_799, 172_800, 226_800, 864_000)
    told = ["", "0 s", "119 s", "119 s", "2 min", "3 min", "120 min", "2 h", "3 h", "48 h", "2 d", "3 d", "10 d"]
    assert [ago(each) for each in seconds] == told


def test_a_line_is_broken_between_its_parts_where_it_does_not_fit() -> None:
    assert filled("aaaa · bbbb · cccc", 18) == "aaaa · bbbb · cccc"
    assert filled("aaaa · bbbb · cccc", 17) == "aaaa · bbbb\n  cccc"
    assert filled("aaaa · bbbb · cccc", 5) == "aaaa\n  bbbb\n  cccc"


def test_a_terminal_gets_whole_words_and_a_file_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((12, 24)))
    text = "say what-you-mean now\n  indented lines stay as they are"
    assert in_words(text, Screen(False)) == text
    assert in_words(text, Screen(True)) == "say\nwhat-you-mean\nnow\n  indented lines stay as they are"


@pytest.mark.parametrize(("rank", "terminal", "drawn"), [("0", True, True), ("1", True, False), ("0", False, False)])
def test_a_bar_is_drawn_by_the_first_process_for_somebody_who_looks(
    monkeypatch: pytest.MonkeyPatch, rank: str, terminal: bool, drawn: bool
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("sys.stdout", Screen(terminal))
    assert watched() is drawn


class Closed:
    """A pipe whose reader has gone, a disk that is full."""

    encoding = "ascii"

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_nobody_having_to_hear_it_stops_nothing_and_what_a_stream_has_no_letter_for_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few: Any = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", few)
    monkeypatch.setattr("sys.stderr", Closed())
    import sys

    with lasting_streams():
        print("Größe", 1)
        sys.stdout.writelines(["a\n", "b\n"])
        print("gone", file=sys.stderr, flush=True)
        assert sys.stdout.encoding == "ascii"  # of the stream itself
    assert sys.stdout is few
    assert few.buffer.getvalue() == b"Gr\\xf6\\xdfe 1\na\nb\n"


def test_an_error_is_said_in_letters_that_a_terminal_only_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(False)
    monkeypatch.setattr("sys.stderr", screen)
    say_error("a \x1b[31mred\x1b[0m file\nof two lines")
    assert screen.getvalue() == "error: a red file\nof two lines\n"
