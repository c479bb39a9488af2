"""What was counted on each image, in files that only grow: an evaluation that is killed goes on where it was.

One file per process, one line per image. A line that a kill has torn is the last of its file, and is counted again. So
is an image that has changed since, or whose labels have: a line holds for the stamp of the files that were counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Entry(NamedTuple):
    """`stamp`: of the image and its labels (`HeldOut.stamps`). `confusions`: int64 (K, K). `boundaries`: int64 (3, K),
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
        self.file = folder / f"rank{rank}.jsonl"
        self._mend()

    def add(self, entry: Entry) -> None:
        """Append one line and hand it to the operating system."""
        flat = entry.confusions.flatten().cpu().numpy()
        cells = np.flatnonzero(flat)
        line: dict[str, Any] = {"stamp": entry.stamp, "name": entry.name}
        line |= {"cells": cells.tolist(), "counts": flat[cells].tolist()}
        if entry.boundaries is not None:
            line["boundaries"] = entry.boundaries.cpu().tolist()
        with open(self.file, "a") as file:
            file.write(json.dumps(line) + "\n")

    def entries(self) -> Iterator[Entry]:
        """Every stamp once, of all processes, whichever of them counted it."""
        seen: set[str] = set()
        for file in sorted(self.folder.glob("rank*.jsonl")):
            for line in file.read_bytes().split(b"\n")[:-1]:
                entry = self._entry(line)
                if entry is not None and entry.stamp not in seen:
                    seen.add(entry.stamp)
                    yield entry

    def _entry(self, line: bytes) -> Entry | None:
        """None for a line that is torn and followed by others, of a machine that went down: it is counted again."""
        try:
            found = json.loads(line)
            flat = torch.zeros(self.num_classes**2, dtype=torch.int64)
            flat[torch.tensor(found["cells"], dtype=torch.int64)] = torch.tensor(found["counts"], dtype=torch.int64)
            boundaries = torch.tensor(found["boundaries"]) if "boundaries" in found else None
            return Entry(found["stamp"], found["name"], flat.unflatten(0, (self.num_classes, -1)), boundaries)
        except (ValueError, KeyError, TypeError, IndexError, RuntimeError):
            return None

    def _mend(self) -> None:
        """Cut off a torn last line, so that the next one does not go on in it."""
        if self.file.is_file():
            content = self.file.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                self.file.write_bytes(whole)
