"""The folder of an evaluation: whose numbers lie in it, and whether they are still those of the data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae_hydra import atomic
from mae_hydra.configuration.construct import complete, nodes_of
from mae_hydra.data import ImageData
from mae_hydra.data.dataset import stamp_of
from mae_hydra.distributed import barrier, broadcast_object, is_main
from mae_hydra.errors import UserError
from mae_hydra.experiment.status import write_json
from mae_hydra.recorded.tables import table_or_none
from mae_hydra.types import OnFiles
from mae_hydra.workflows.evaluation_plan import Plan


@dataclass(frozen=True)
class Work:
    """An evaluator, and on what its numbers stand: a stamp for every file it looks at."""

    evaluator: Any
    stamps: list[str]


def work_on(plan: Plan, data: ImageData) -> dict[str, Work]:
    """Build the evaluators of a plan, each with the stamps of what it looks at."""
    inference = plan.build("inference")
    work: dict[str, Work] = {}
    for name in nodes_of(plan.config, "evaluation"):
        key = f"evaluation.{name}"
        evaluator = complete(key, plan.build(key), data=data, inference=inference)
        if plan.split == "train" and hasattr(evaluator, "bank"):
            raise UserError(f"split=train: {key} compares other images with those of training; leave the word out")
        stamps = evaluator.stamps() if isinstance(evaluator, OnFiles) else _all_stamps(data)
        work[name] = Work(evaluator, broadcast_object(stamps))  # other machines may see other times
    return work


def _all_stamps(data: ImageData) -> list[str]:
    return [stamp_of(images, index) for images in (data.train, data.validation) for index in range(len(images))]


def look_back(folder: Path, plan: Plan, work: Mapping[str, Work], data: ImageData) -> dict[str, Any] | None:
    """The results of an evaluation that is complete; UserError where the folder belongs to another one."""
    known, results = (table_or_none(folder / name) or {} for name in ("fingerprint.json", "results.json"))
    atomic.clear_leftovers(folder)  # of a call that was killed before it had written anything
    occupied = folder.is_dir() and any(folder.iterdir())
    barrier()  # nobody writes before everybody has looked
    mark = {"fingerprint": plan.fingerprint, "data": data_digest(work, data)}
    if not known and occupied:
        raise UserError(f"{folder} is not empty and holds no evaluation; give another folder with --out")
    if known and known.get("fingerprint") != plan.fingerprint:
        raise UserError(
            f"{folder} holds an evaluation of other weights or other settings; give another folder with --out, "
            "or remove it"
        )
    if known == mark and results:
        return {**results, "folder": str(folder), "already_complete": True}
    if known and known != mark:
        tell(["the data have changed since this was evaluated: what is not as it was is counted anew"])
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").unlink(missing_ok=True)  # first: they are of other data
        write_json(folder / "fingerprint.json", mark)
    barrier()
    return None


def data_digest(work: Mapping[str, Work], data: ImageData) -> str:
    """Digest the names, sizes and times of all files that are looked at, and the names of the classes."""
    facts = [list(data.class_names), {name: evaluation.stamps for name, evaluation in work.items()}]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def tell(lines: Sequence[str]) -> None:
    """Say it once, in whichever number of processes."""
    if is_main():
        for line in lines:
            print(line, flush=True)
