"""What differs between two runs: what was asked for, with which code, data and machine, and what came out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mae_hydra.errors import UserError
from mae_hydra.experiment.gather import Run, read_run
from mae_hydra.experiment.key_meaning import flatten
from mae_hydra.experiment.status import computed, read_json

FILES = {"git.json": "code", "environment.json": "machine", "data.json": "data", "parent.json": "began from"}
ALWAYS_OTHERS = {"command", "folder", "host", "paths.run_dir", "root"}  # they differ, and it means nothing


class Difference(NamedTuple):
    part: str
    key: str
    first: Any
    second: Any


def compare(first: Path, second: Path) -> list[Difference]:
    """All differences, those that change results first."""
    runs = [_run(directory) for directory in (first, second)]
    return [*_configuration(*runs), *_files(*runs), *_results(*runs)]


def _run(directory: Path) -> Run:
    run = read_run(directory)
    if run is None:
        raise UserError(f"{directory} is no run: there is no status.json in it")
    return run


def _configuration(first: Run, second: Run) -> Iterator[Difference]:
    parts = {"configuration": computed, "where and how": flatten}
    seen: set[str] = set()
    for part, flat in parts.items():
        ours, theirs = flat(first.config), flat(second.config)
        for key in sorted(ours.keys() | theirs.keys()):
            if key not in seen | ALWAYS_OTHERS and ours.get(key) != theirs.get(key):
                yield Difference(part, key, ours.get(key), theirs.get(key))
            seen.add(key)


def _files(first: Run, second: Run) -> Iterator[Difference]:
    for name, part in FILES.items():
        ours, theirs = (flatten(read_json(run.directory / name) or {}) for run in (first, second))
        for key in sorted((ours.keys() | theirs.keys()) - ALWAYS_OTHERS):
            if ours.get(key) != theirs.get(key):
                yield Difference(part, key, ours.get(key), theirs.get(key))
    paths = [run.directory / "git.diff" for run in (first, second)]
    changes = [path.read_text(errors="replace") if path.is_file() else "" for path in paths]
    if changes[0] != changes[1]:
        lines = [f"{len(change.splitlines())} lines" for change in changes]
        yield Difference("code", "git.diff", *lines)


def _results(first: Run, second: Run) -> Iterator[Difference]:
    for key in sorted(first.metrics.keys() | second.metrics.keys()):
        if not key.startswith("perf/") and first.metrics.get(key) != second.metrics.get(key):
            yield Difference("results", key, first.metrics.get(key), second.metrics.get(key))
