"""Files of JSON objects, one a line, that grow while a program runs.

A full disk, a lost mount, a kill or a machine that goes down may each leave a torn line, a run of NUL bytes or other
rubbish in such a file. What is whole is never given up for that.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

LARGEST = 1e300  # of a number; sums and the margins of plots stay below the largest float


class Lines(NamedTuple):
    """`rows`: the objects of the whole lines. `damaged`: how many others there are, without an unfinished last one."""

    rows: list[dict[str, Any]]
    damaged: int


def read_lines(path: Path, fits: Callable[[dict[str, Any]], bool] = lambda row: True) -> Lines:
    """Every line of the file that is a JSON object and `fits`; nothing where there is no file.

    A line that a machine which went down has begun with NUL bytes counts where the rest of it is whole.
    """
    *whole, last = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    found = [row for line in whole if isinstance(row := _parsed(line), dict) and fits(row)]
    under_way = _parsed(last)  # the end of one that is just being written is no damage
    rows = [*found, under_way] if isinstance(under_way, dict) and fits(under_way) else found
    return Lines(rows, len(whole) - len(found))


def read_marked(path: Path, mark: bytes, fits: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The rows of the lines that hold `mark`, and of the last whole one: what a list needs of a long file."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    found = [row for line in lines if mark in line and isinstance(row := _parsed(line), dict) and fits(row)]
    for line in reversed(lines):
        if isinstance(row := _parsed(line), dict) and fits(row):
            return found if found and found[-1] == row else [*found, row]
    return found


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.strip(b"\0"))
    except (ValueError, RecursionError):  # torn, binary, no UTF-8, or nested beyond all measure
        return None


def is_number(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a number that a run writes: finite, and so small that sums of many are finite too."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def of_a_step(row: dict[str, Any]) -> bool:
    """Whether `row` is what metrics.jsonl holds: numbers and nulls by name, one of them the step."""
    return is_number(row.get("step")) and all(value is None or is_number(value) for value in row.values())


class GrowingFile:
    """Lines added at the end of a file. What the disk does not take is kept, and written before the next one.

    `lines`: the first ones, which begin `end` bytes behind the start of the file; whatever is there goes.
    """

    def __init__(self, path: Path, lines: Sequence[bytes] = (), end: int = 0) -> None:
        self.path = path
        self.error: OSError | None = None  # why the last write failed; None: all is on the disk
        self._lines = list(lines)  # not known to be on the disk, or the last one of the file, which may still change
        self._end = end  # where they begin

    @classmethod
    def behind(cls, path: Path) -> "GrowingFile":
        """Go on behind the last whole line of what is there."""
        content = path.read_bytes() if path.is_file() else b""
        return cls(path, (), content.rfind(b"\n") + 1)

    @property
    def unwritten(self) -> list[bytes]:
        return [] if self.error is None else self._lines

    def whole(self) -> bytes:
        """What the file would hold, had the disk taken all."""
        before = self.path.read_bytes()[: self._end] if self.path.is_file() else b""
        return before + b"".join(self._lines)

    def add(self, line: bytes) -> None:
        self._lines.append(line)
        self.write()

    def change_last(self, line: bytes) -> None:
        self._lines[-1] = line
        self.write()

    def write(self) -> None:
        """Hand the lines to the operating system, over what a write that failed has left of them."""
        try:
            with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                self._end = min(self._end, file.seek(0, os.SEEK_END))  # somebody may have emptied it
                file.seek(self._end)
                file.write(b"".join(self._lines))
                file.truncate()
        except OSError as error:
            self.error = error
            return
        self.error = None
        self._end += sum(map(len, self._lines[:-1]))
        del self._lines[:-1]
