"""What differs between runs: what was asked for, with which code, data and machine, and what came out."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mae_hydra.configuration.key_meaning import flatten
from mae_hydra.errors import UserError
from mae_hydra.experiment.read_runs import Run, read_run
from mae_hydra.experiment.status import computed
from mae_hydra.names import clean
from mae_hydra.recorded.tables import read_table

COMPOSED = ("choices.", "config_")  # of environment.json: which option files the run was composed of
FILES = {"git.json": "code", "environment.json": "machine", "data.json": "data", "parent.json": "began from"}
ALWAYS_OTHERS = {"command", "folder", "host", "paths.run_dir", "root"}  # they differ, and it means nothing
TARGET = "_target_"


class Difference(NamedTuple):
    """`values`: one for each run, in their order; None where a run has no such key."""

    part: str
    key: str
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The key as it is shown: a part is called without its `_target_`."""
        return clean(self.key.removesuffix(f".{TARGET}"))

    @property
    def shown(self) -> list[str]:
        """The values as texts; of a class its own name."""
        texts = list(map(shown, self.values))
        return [text.rpartition(".")[2] for text in texts] if self.key.endswith(TARGET) else texts


def shown(value: Any) -> str:
    """A value of a run beside those of others, as a text of one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else clean(value)


def compare(directories: Sequence[Path]) -> list[Difference]:
    """All differences, those that change results first."""
    runs = [_run(directory) for directory in directories]
    differences = [*_configuration(runs), *_files(runs), *_results(runs)]
    return [*_commands(runs), *differences] if differences else []


def distinct(differences: Sequence[Difference]) -> list[Difference]:
    """Without what only says again what another row says.

    The resolved configuration has a building block where it stands and where the model takes it (`backbone.depth`,
    `model.encoder.depth`): of keys that end alike and have the same values the first one stays. Of a part that is
    another class its class stays, or the option that chose it, and of its keys those that all runs have.
    """
    left = [each for each in differences if each.part == "composed of"]
    options = {each.key.removeprefix("choices.").partition("@")[0] for each in left}
    others = {
        each.key.removesuffix(f".{TARGET}")
        for each in differences
        if each.part == "configuration" and each.key.endswith(f".{TARGET}")
    }
    seen: set[tuple[str, str]] = set()
    kept = list[Difference]()
    for each in sorted(differences, key=_copies_last):
        node, _, last = each.key.rpartition(".")
        if each.part in ("configuration", "where and how"):
            owned = any(each.key == other or each.key.startswith(f"{other}.") for other in others)
            if last == TARGET and node in options:
                continue
            if last != TARGET and owned and None in each.values:
                continue
            if (mark := (last, repr(each.values))) in seen:
                continue
            seen.add(mark)
        kept.append(each)
    return sorted(kept, key=differences.index)


def _copies_last(difference: Difference) -> bool:
    return difference.key.startswith("model.")


def _run(directory: Path) -> Run:
    run = read_run(directory)
    if run is None:
        raise UserError(f"{directory} is no run: there is no status.json in it")
    return run


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])


def _configuration(runs: Sequence[Run]) -> Iterator[Difference]:
    parts = {"configuration": computed, "where and how": flatten}
    seen: set[str] = set()
    for part, flat in parts.items():
        settings = [flat(run.config) for run in runs]
        for key in sorted(set().union(*settings)):
            values = tuple(of_run.get(key) for of_run in settings)
            if key not in seen | ALWAYS_OTHERS and _differ(values):
                yield Difference(part, key, values)
            seen.add(key)


def _commands(runs: Sequence[Run]) -> Iterator[Difference]:
    """What was typed: it differs in where the runs went at least, and tells something where they differ in more."""
    commands = tuple(typed(read_table(run.directory / "environment.json") or {}) for run in runs)
    if _differ(commands):
        yield Difference("typed", "command", commands)


def typed(environment: Mapping[str, Any]) -> str | None:
    """The whole command line of a run as it may be typed again; None where it was not recorded."""
    words = environment.get("command")
    return shlex.join(words) if words else None


def _files(runs: Sequence[Run]) -> Iterator[Difference]:
    for name, part in FILES.items():
        tables = [flatten(read_table(run.directory / name) or {}) for run in runs]
        for key in sorted(set().union(*tables) - ALWAYS_OTHERS):
            values = tuple(table.get(key) for table in tables)
            if _differ(values):
                composed = name == "environment.json" and key.startswith(COMPOSED)
                yield Difference("composed of" if composed else part, key, values)
    paths = [run.directory / "git.diff" for run in runs]
    changes = [path.read_text(errors="replace") if path.is_file() else "" for path in paths]
    if _differ(changes):
        yield Difference("code", "git.diff", tuple(f"{len(change.splitlines())} lines" for change in changes))


def _results(runs: Sequence[Run]) -> Iterator[Difference]:
    for key in sorted(set().union(*(run.metrics for run in runs))):
        values = tuple(run.metrics.get(key) for run in runs)
        if not key.startswith("perf/") and _differ(values):
            yield Difference("results", key, values)
