"""What was counted on each image, in files that only grow: an evaluation that is killed goes on where it was.

One file per process, one line per image. A line that a kill has torn is the last of its file, and is counted again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Entry(NamedTuple):
    """`confusions`: int64 (K, K). `boundaries`: int64 (3, K), None where they were not asked for."""

    number: int
    name: str
    confusions: Tensor
    boundaries: Tensor | None


class Tally:
    """The entries in `folder`; this process adds to `rank<rank>.jsonl`."""

    def __init__(self, folder: Path, rank: int, num_classes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.num_classes = folder, num_classes
        self.file = folder / f"rank{rank}.jsonl"
        self._mend()

    def add(self, entry: Entry) -> None:
        """Append one line and hand it to the operating system."""
        flat = entry.confusions.flatten().cpu().numpy()
        cells = np.flatnonzero(flat)
        line: dict[str, Any] = {"index": entry.number, "name": entry.name}
        line |= {"cells": cells.tolist(), "counts": flat[cells].tolist()}
        if entry.boundaries is not None:
            line["boundaries"] = entry.boundaries.cpu().tolist()
        with open(self.file, "a") as file:
            file.write(json.dumps(line) + "\n")

    def entries(self) -> Iterator[Entry]:
        """Every image once, of all processes, whichever of them counted it."""
        seen: set[int] = set()
        for file in sorted(self.folder.glob("rank*.jsonl")):
            for line in _whole_lines(file):
                if line["index"] not in seen:
                    seen.add(line["index"])
                    yield self._entry(line)

    def _entry(self, line: dict[str, Any]) -> Entry:
        flat = torch.zeros(self.num_classes**2, dtype=torch.int64)
        flat[torch.tensor(line["cells"], dtype=torch.int64)] = torch.tensor(line["counts"], dtype=torch.int64)
        boundaries = torch.tensor(line["boundaries"]) if "boundaries" in line else None
        return Entry(line["index"], line["name"], flat.unflatten(0, (self.num_classes, -1)), boundaries)

    def _mend(self) -> None:
        """Cut off a torn last line, so that the next one does not go on in it."""
        if self.file.is_file():
            content = self.file.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                self.file.write_bytes(whole)


def _whole_lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_bytes().split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except ValueError:
            continue  # torn, and followed by others: of a machine that went down
