"""What was counted on each image, in files that only grow: an evaluation that is killed goes on where it was.

One file per process, one line per image. An image whose line is torn or otherwise damaged is counted again; so is one
that has changed since, or whose labels have: a line holds for the stamp of the files that were counted. A line that the
disk does not take is kept, and written with the next one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mae_hydra.errors import UserError
from mae_hydra.lines import GrowingFile, read_lines


class Entry(NamedTuple):
    """`stamp`: of the image and its labels (`HeldOut.stamps`). `confusions`: int64 (C, C). `boundaries`: int64 (3, C),
    None where they were not asked for."""

    stamp: str
    name: str
    confusions: Tensor
    boundaries: Tensor | None


class Tally:
    """The entries in `folder`; this process adds to `rank<rank>.jsonl`."""

    def __init__(self, folder: Path, rank: int, num_classes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.num_classes = folder, num_classes
        self.file = GrowingFile.behind(folder / f"rank{rank}.jsonl")

    def add(self, entry: Entry) -> None:
        """Append one line and hand it to the operating system; `finish` says whether it has taken all."""
        flat = entry.confusions.flatten().cpu().numpy()
        cells = np.flatnonzero(flat)
        line: dict[str, Any] = {"stamp": entry.stamp, "name": entry.name}
        line |= {"cells": cells.tolist(), "counts": flat[cells].tolist()}
        if entry.boundaries is not None:
            line["boundaries"] = entry.boundaries.cpu().tolist()
        self.file.add(json.dumps(line).encode() + b"\n")

    def finish(self) -> None:
        """One more try at what the disk has not taken; UserError where it still does not."""
        self.file.write()
        if self.file.error is not None:
            raise UserError(
                f"the counts of {len(self.file.unwritten)} images could not be written to {self.file.path} "
                f"({self.file.error.strerror}); make room, and the same command counts these again"
            )

    def entries(self) -> Iterator[Entry]:
        """Every stamp once, of all processes, whichever of them counted it."""
        seen: set[str] = set()
        for file in sorted(self.folder.glob("rank*.jsonl")):
            for line in read_lines(file, self._fits).rows:
                if line["stamp"] not in seen:
                    seen.add(line["stamp"])
                    yield self._entry(line)

    def _entry(self, line: dict[str, Any]) -> Entry:
        flat = torch.zeros(self.num_classes**2, dtype=torch.int64)
        flat[torch.tensor(line["cells"], dtype=torch.int64)] = torch.tensor(line["counts"], dtype=torch.int64)
        boundaries = torch.tensor(line["boundaries"]) if "boundaries" in line else None
        return Entry(line["stamp"], line["name"], flat.unflatten(0, (self.num_classes, -1)), boundaries)

    def _fits(self, line: dict[str, Any]) -> bool:
        """Whether a line is of an image, and of so many classes."""
        cells, counts = line.get("cells"), line.get("counts")
        return (
            isinstance(line.get("stamp"), str)
            and isinstance(line.get("name"), str)
            and isinstance(cells, list)
            and isinstance(counts, list)
            and len(cells) == len(counts)
            and all(isinstance(cell, int) and 0 <= cell < self.num_classes**2 for cell in cells)
            and all(isinstance(count, int) and count > 0 for count in counts)
        )
