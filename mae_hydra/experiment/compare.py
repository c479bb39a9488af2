"""What differs between two runs: what was asked for, with which code, data and machine, and what came out."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mae_hydra.configuration.key_meaning import flatten
from mae_hydra.errors import UserError
from mae_hydra.experiment.gather import Run, read_run
from mae_hydra.experiment.status import computed
from mae_hydra.recorded.tables import read_table

COMPOSED = ("choices.", "config_")  # of environment.json: which option files the run was composed of
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
    found = [*_configuration(*runs), *_files(*runs), *_results(*runs)]
    return [*_commands(*runs), *found] if found else []


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


def _commands(first: Run, second: Run) -> Iterator[Difference]:
    """What was typed: it differs in where the runs went at least, and tells something where they differ in more."""
    ours, theirs = (typed(read_table(run.directory / "environment.json") or {}) for run in (first, second))
    if ours != theirs:
        yield Difference("typed", "command", ours, theirs)


def typed(environment: Mapping[str, Any]) -> str | None:
    """The whole command line of a run as it may be typed again; None where it was not recorded."""
    words = environment.get("command")
    return shlex.join(words) if words else None


def _files(first: Run, second: Run) -> Iterator[Difference]:
    for name, part in FILES.items():
        ours, theirs = (flatten(read_table(run.directory / name) or {}) for run in (first, second))
        for key in sorted((ours.keys() | theirs.keys()) - ALWAYS_OTHERS):
            if ours.get(key) != theirs.get(key):
                composed = name == "environment.json" and key.startswith(COMPOSED)
                yield Difference("composed of" if composed else part, key, ours.get(key), theirs.get(key))
    paths = [run.directory / "git.diff" for run in (first, second)]
    changes = [path.read_text(errors="replace") if path.is_file() else "" for path in paths]
    if changes[0] != changes[1]:
        lines = [f"{len(change.splitlines())} lines" for change in changes]
        yield Difference("code", "git.diff", *lines)


def _results(first: Run, second: Run) -> Iterator[Difference]:
    for key in sorted(first.metrics.keys() | second.metrics.keys()):
        if not key.startswith("perf/") and first.metrics.get(key) != second.metrics.get(key):
            yield Difference("results", key, first.metrics.get(key), second.metrics.get(key))
