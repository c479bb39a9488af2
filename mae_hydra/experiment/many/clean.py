"""What of many runs can go: superseded checkpoints, and runs that came to nothing. Deleted only when told to."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra.archive import check_file
from mae_hydra.configuration.command_words import parsed, texts
from mae_hydra.engine.checkpoint import STEP_FILE
from mae_hydra.experiment.holder import is_held
from mae_hydra.experiment.many.listing import Row, run_directories, size_of
from mae_hydra.recorded.tables import read_table, table_or_none

RECORDS = ("config.yaml", "environment.json", "parent.json")
OURS = {  # what this program writes into a run directory; with anything else in it, a directory is a person's
    ".lock", "checkpoints", "config.yaml", "console.log", "data.json", "environment.json", "error.txt", "figures",
    "git.diff", "git.json", "metrics.jsonl", "nonfinite.jsonl", "overrides.yaml", "parent.json", "profile", "replay",
    "report", "results.json", "starts.jsonl", "status.json", "tables", "tensorboard", "train.log", "wandb",
    "wandb_id.txt",
}  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """A file or a run directory that can go, why, and the bytes that are free then."""

    path: Path
    why: str
    size: int
    run: Path


def proposals(rows: Sequence[Row], folder: Path) -> list[Proposal]:
    """What can go of the runs listed below `folder`; never of a run that is held, nor what a record of another needs.

    Records are looked for below `folder` and below the output folders that the runs themselves name, so that a run
    elsewhere keeps what it began from.
    """
    needed = needed_paths(_all_runs(rows, folder))
    found = list[Proposal]()
    for row in rows:
        directory = row.run.directory
        if not _lies_in(directory, folder) or _alive(directory):
            continue
        if (why := _came_to_nothing(row)) and not _needs(directory, needed) and _is_ours_alone(directory):
            found.append(Proposal(directory, why, size_of(directory, with_runs=True), directory))
        elif row.state == "completed":
            found += _superseded(row, needed)
    gone = [each.path for each in found if each.path == each.run]  # what lies in one of them goes with it
    return [each for each in found if not any(place in each.path.parents for place in gone)]


def remove(proposal: Proposal) -> bool:
    """Delete it; False, and nothing is touched, where somebody holds the run by now."""
    if _alive(proposal.run):
        return False
    if proposal.path == proposal.run:
        if not _is_ours_alone(proposal.path):  # something was put there meanwhile
            return False
        shutil.rmtree(proposal.path)
    else:
        proposal.path.unlink()
    return True


def _alive(directory: Path) -> bool:
    """Whether somebody holds the run, or one that follows it."""
    return any(is_held(run) for run in run_directories(directory))


def _lies_in(directory: Path, folder: Path) -> bool:
    """Whether no link leads from `folder` to the directory: what a link leads to belongs elsewhere."""
    place = folder.resolve() / os.path.relpath(directory, folder)
    return directory.resolve() == Path(os.path.normpath(place))


def _is_ours_alone(directory: Path) -> bool:
    """Whether a run directory holds its record and nothing that this program has not written: no other run, no link."""
    if not all((directory / name).is_file() for name in ("config.yaml", "status.json")):
        return False
    for place, folders, files in os.walk(directory):
        inner = place != os.fspath(directory)
        if any(os.path.islink(os.path.join(place, name)) for name in (*folders, *files)):
            return False
        if inner and "status.json" in files:
            return False
        if not inner and any(name not in OURS and not _is_numbered(name) for name in (*folders, *files)):
            return False
    return True


def _is_numbered(name: str) -> bool:
    return name.startswith((".heartbeat-", "error.rank"))


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint can be read to its end, every record with its checksum."""
    try:
        return check_file(path)
    except Exception:  # a damaged file can fail in any way
        return False


def _came_to_nothing(row: Row) -> str:
    """Why a whole run can go; empty where it cannot."""
    if row.state not in ("failed", "dead", "interrupted"):
        return ""
    smoke = row.choices.get("debug") is not None or any(word.startswith("+debug=") for word in row.words)
    if smoke:
        return f"{row.state} run of +debug="
    checkpoints = row.run.directory / "checkpoints"
    empty = row.step is None and not (checkpoints.is_dir() and any(checkpoints.iterdir()))
    return "failed before its first step" if empty and row.state == "failed" else ""


def _superseded(row: Row, needed: Mapping[Path, set[int]]) -> Iterator[Proposal]:
    """Of a complete run the files of single steps; not milestones, nor what other runs began from."""
    folder = row.run.directory / "checkpoints"
    kept = {_identity(folder / name) for name in ("last.pt", "best.pt")}
    every = row.run.config.get("checkpoint", {}).get("keep_every")
    files = [] if folder.is_symlink() else sorted(folder.glob("step-*.pt"))
    if files and not _is_whole(folder / "last.pt"):
        return
    for path in files:
        match = STEP_FILE.fullmatch(path.name)
        if match is None or path.is_symlink():
            continue
        step = int(match[1])
        milestone = isinstance(every, int) and every > 0 and step % every == 0
        if milestone or path.resolve() in needed or step in needed.get(folder.resolve(), set()):
            continue
        size = 0 if _identity(path) in kept else path.stat().st_size
        if size:
            yield Proposal(path, "superseded by last.pt", size, row.run.directory)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _all_runs(rows: Sequence[Row], folder: Path) -> list[Path]:
    """The runs whose records are asked: those below the folder, and below every output folder that a run names."""
    places = {folder.resolve()}
    for row in rows:
        told = table_or_none(row.run.directory / "environment.json") or {}
        root = (row.run.config.get("paths") or {}).get("output_root")
        if isinstance(root, str) and told.get("folder"):
            places.add((Path(told["folder"]) / root).resolve())
    outer = [place for place in places if not any(other in place.parents for other in places)]
    return [run for place in outer if place.is_dir() for run in run_directories(place)]


def needed_paths(directories: Sequence[Path]) -> dict[Path, set[int]]:
    """Every path that the record of a run names, and of a folder of checkpoints the steps that runs began from.

    UserError where a record cannot be read: what it needs is not known then.
    """
    found: dict[Path, set[int]] = {}
    for directory in directories:
        config, environment, parent = (read_table(directory / name) or {} for name in RECORDS)
        words = (table_or_none(directory / "status.json") or {}).get("overrides", [])
        said = {*texts(config), *texts([parent.get("path")])}
        said |= {text for word in parsed(list(map(str, words))) if not word.is_delete() for text in texts(word.value())}
        own, places = directory.resolve(), [Path(environment.get("folder") or "."), Path.cwd()]
        for path in {path for text in said for path in _paths(text, places)}:
            if path != own and own not in path.parents and path not in own.parents:
                found.setdefault(path, set())
        if parent.get("path") and isinstance(parent.get("step"), int):
            found.setdefault(Path(parent["path"]).resolve().parent, set()).add(parent["step"])
    return found


def _paths(text: str, places: Sequence[Path]) -> Iterator[Path]:
    """The paths that a text of a record may stand for, where there is such a file or folder."""
    for place in places:
        for each in {text, text.partition("@")[0]}:  # @ema names a part of a checkpoint
            if each and os.path.lexists(path := place / each):
                yield path.resolve()


def _needs(directory: Path, needed: Mapping[Path, Any]) -> bool:
    own = directory.resolve()
    return any(path == own or own in path.parents for path in needed)
