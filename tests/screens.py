"""What commands print, whole, as texts to read: `tests/golden/screens/<test module>.txt`.

All that a quick test reads from `capsys` is compared with that file, but for what differs from run to run: then a wrong
number in a column, a mark on the wrong row, a hint that is said too often do not go unseen. After an intended change
`SCREENS=write python -m pytest -n 0 -m "not slow" <test files>` writes the files anew; read the difference.

Packages and Python itself word errors in their own ways, so this is compared with the pinned versions and one Python;
`SCREENS=ignore` leaves it out.
"""

import difflib
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "screens"
HEAD = "=" * 8
PYTHON = (3, 11)
LEFT_OUT = {
    "test_local_files",  # the same warnings, hundreds of times
    "test_trackers",  # tracebacks
    "test_reference",  # docs/options.md, which it compares
    "test_profile",  # times
    # long folders, broken where the lines end
    "test_report",
    "test_stages_told",
    "test_sweep_told",
    "test_a_file_without_checksums_is_reported_as_one",
    "test_study",
    "test_weights_by_name",  # digests of what a server's address is part of
    "test_the_protocol_of_an_evaluation_tells_how_it_was_found",  # a trained model's scores, which processors round
    "test_the_table_is_text_json_and_csv",  # seconds, in columns without a unit
}
WANTED = os.environ.get("SCREENS", "compare" if sys.version_info[:2] == PYTHON else "ignore")
# What differs from run to run: folders, times, rates, sizes of records with times in them, and losses between machines.
VARYING = [
    (re.compile(pattern, re.MULTILINE), instead)
    for pattern, instead in (
        (r"(?<=<folder>/)(popen-gw\d+/)?([a-z]+)\d+\b", r"\2"),
        (r"\d{4}-\d\d-\d\d[T_ ]\d\d[:-]\d\d[:-]\d\d(,\d{3}|-[0-9a-f]{4})?", "<time>"),
        (r"\d[\d.]*(?= (?:s|ms|min|bytes)\b|/s\b)", "#"),
        (r"(?<=port )\d{5}|(?<=127\.0\.0\.1:)\d+|(?<=-L )\d+|(?<=process )\d{3,}", "#"),
        # What a training tells: the first test that looks at a run which several share trains it.
        (r"^(step \d|\d+ steps? of |everything goes to |completed after |.*: [\d.]+ M parameters on ).*\n", ""),
        (r"^.*it/s\].*\n", ""),
    )
]


class Screens:
    """`capsys`, which keeps what was read from it."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured
        self.read: list[str] = []

    def readouterr(self) -> Any:
        found = self._captured.readouterr()
        self.read += [text for text in found if text]
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._captured, name)


def kept(captured: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Iterator[Any]:
    """For the fixture `capsys`: compares when the test is over."""
    names = {request.node.path.stem, request.node.originalname}
    if WANTED == "ignore" or names & LEFT_OUT or request.node.get_closest_marker("slow"):
        yield captured
        return
    screens, base = Screens(captured), request.getfixturevalue("tmp_path_factory").getbasetemp()
    yield screens
    own = request.node.funcargs.get("tmp_path")
    shown = _settled("".join(screens.read), *([own] if own else []), base)
    if own:
        shown = shown.replace(own.name, "<name>")
    file, name = GOLDEN / f"{request.node.path.stem}.txt", request.node.name.encode("unicode_escape").decode()
    if WANTED == "write":
        _write(file, _parts(file) | {name: shown})
    else:
        stored = _parts(file).get(name, "")
        told = "".join(difflib.unified_diff(stored.splitlines(True), shown.splitlines(True), str(file), name))
        assert not told, f"{told}see {__file__}"


def _settled(text: str, *folders: Path) -> str:
    for place in (*folders, ROOT, Path(tempfile.gettempdir())):
        text = text.replace(str(place), "<folder>")
    text = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "<host>", text)
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return "".join(f"{line.rstrip()}\n" for line in text.split("\n") if line.strip())


@cache
def _read(file: Path, changed: int) -> dict[str, str]:
    parts = file.read_text(encoding="utf-8").split(f"{HEAD} ")[1:]
    return {name: text for name, _, text in (part.partition("\n") for part in parts)}


def _parts(file: Path) -> dict[str, str]:
    return _read(file, file.stat().st_mtime_ns) if file.exists() else {}


def _write(file: Path, parts: dict[str, str]) -> None:
    file.parent.mkdir(exist_ok=True)
    said = [f"{HEAD} {name}\n{text}" for name, text in sorted(parts.items()) if text]
    if said:
        with open(file, "w", encoding="utf-8") as written:  # a test may have put something in the place of Path's own
            written.write("".join(said))
