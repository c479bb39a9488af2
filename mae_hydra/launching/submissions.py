"""What a sweep has handed to Slurm, in `.slurm/` in its directory: for whoever types the same command later.

A submission is a script (`001.sh`) and what is known of it (`001.json`), which is written before Slurm gets the script.
So where the process that submitted dies in between, the jobs are found again by the script that they run.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.launching.slurm import Seen
from mae_hydra.recorded.tables import table_or_none

FOLDER = ".slurm"


@dataclass
class Submission:
    """An array of jobs: element n of the array is the job with the name `jobs[n]`.

    `told`: the jobs of which a table has told how they ended; the same command queues those anew.
    """

    script: Path
    jobs: list[str]
    number: str | None = None
    told: tuple[str, ...] = ()

    @property
    def log(self) -> str:
        """Where an element says what it says before its own console.log is there, as sbatch reads it."""
        return str(self.script.parent / "%A_%a.log")

    def write(self) -> None:
        content: dict[str, Any] = {"number": self.number, "jobs": self.jobs, "told": self.told}
        atomic.write_text(self.script.with_suffix(".json"), json.dumps(content, indent=1))

    def elements(self, queue: Mapping[str, Seen]) -> dict[str, str]:
        """Job -> its number in Slurm, of those that no table has told of."""
        number = self.number
        for element, seen in queue.items():
            if seen.script == str(self.script):
                number = element.partition("_")[0]
        if number is None:
            return {}
        return {job: f"{number}_{place}" for place, job in enumerate(self.jobs) if job not in self.told}


def submissions(sweep_dir: Path) -> list[Submission]:
    """All of a sweep, the first one first."""
    heads = []
    for file in sorted((sweep_dir.absolute() / FOLDER).glob("*.json")):
        row = table_or_none(file)
        if row is not None and isinstance(row.get("jobs"), list):
            heads.append(Submission(file.with_suffix(".sh"), row["jobs"], row.get("number"), tuple(row["told"])))
    return heads


def new(sweep_dir: Path, jobs: Sequence[str]) -> Submission:
    """One with the next free name; nothing is written yet."""
    folder = sweep_dir.absolute() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    last = max((int(file.stem) for file in folder.glob("*.json") if file.stem.isdigit()), default=0)
    return Submission(folder / f"{last + 1:03}.sh", list(jobs))


def tell(sweep_dir: Path, jobs: Collection[str]) -> None:
    """Note that a table tells how these jobs ended."""
    for head in submissions(sweep_dir):
        anew = (set(jobs) & set(head.jobs)) - set(head.told)
        if anew:
            head.told = (*head.told, *sorted(anew))
            head.write()
