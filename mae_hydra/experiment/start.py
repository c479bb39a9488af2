"""What a start writes into its run directory, and when: as soon as it is certain that this run goes on here.

Until then a directory of an earlier start stays as it is, so that nothing of a command that is refused is read by the
next one.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mae_hydra import atomic
from mae_hydra.experiment.provenance import provenance
from mae_hydra.experiment.status import write_json
from mae_hydra.recorded.tables import table_or_none

WRITTEN = {  # by a start, before the first step
    "status.json", "config.yaml", "overrides.yaml", "environment.json", "git.json", "git.diff", "data.json",
    "parent.json", "starts.jsonl", "train.log", "error.txt", "metrics.jsonl", ".lock",
}  # fmt: skip


class Start(NamedTuple):
    """The files by name; plain, so that another process can write them. `texts` as they are, `tables` as JSON."""

    texts: Mapping[str, str]
    tables: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any], overrides: Sequence[str], status: Mapping[str, Any]) -> "Start":
        """Describe the start of a run with a resolved configuration, typed in these words; `status`: status.json."""
        texts, tables = provenance()
        texts |= {
            "config.yaml": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
            "overrides.yaml": yaml.safe_dump(list(overrides)),
        }
        return cls(texts, {"status.json": dict(status), **tables})

    def write(self, run_dir: Path) -> None:
        for name, content in self.tables.items():
            write_json(run_dir / name, content)
        for name, text in self.texts.items():
            atomic.write_text(run_dir / name, text)
        (run_dir / "error.txt").unlink(missing_ok=True)  # of an earlier attempt


def discard_unbegun(run_dir: Path, output_root: Path) -> None:
    """Remove the directory of a start that ended in a mistake of a person before anything was trained.

    It stays where it holds anything else, an earlier start was made in it, or it is a stage of another run, whose table
    tells of it. Folders above it that are empty then go too, as far as `output_root`, or
    its first part where it is relative.
    """
    status = table_or_none(run_dir / "status.json") or {}
    begun = (status.get("state"), status.get("attempt"), status.get("pid"))
    if begun != ("failed", 1, os.getpid()) or (run_dir.absolute().parent / "status.json").exists():
        return
    files = list(run_dir.iterdir())
    metrics = run_dir / "metrics.jsonl"
    others = [file.name for file in files if file.name not in WRITTEN and not file.name.startswith(".heartbeat-")]
    if others or (metrics.exists() and metrics.stat().st_size):
        return
    with suppress(OSError):
        for file in files:
            file.unlink()
        run_dir.rmdir()
        top = output_root.absolute() if output_root.is_absolute() else Path(*output_root.parts[:1]).absolute()
        for folder in run_dir.absolute().parents:
            if top not in (folder, *folder.parents):
                break
            folder.rmdir()  # an OSError where something is in it


def discard_empty(run_dir: Path) -> None:
    """Remove a directory that Hydra made for a run that never began; one that was there before holds more."""
    log_file = run_dir / "train.log"
    if {path.name for path in run_dir.iterdir()} == {log_file.name} and log_file.stat().st_size == 0:
        log_file.unlink()
        run_dir.rmdir()
