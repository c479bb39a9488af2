"""Which files lie below a folder, within a budget: a disk may hold millions, and links may lead back."""

import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from mae_hydra.errors import UserError

MOST_FILES = 2_000_000
SECONDS = 60.0
LEFT_OUT = ("__MACOSX", "@eaDir")  # what macOS and a NAS leave beside everything


@dataclass
class Walked:
    """`files`: paths below the root, in order. `cut`: the budget ended it, and there are more."""

    files: list[str] = field(default_factory=list)
    hidden: int = 0
    loops: int = 0
    unlisted: list[str] = field(default_factory=list)
    cut: bool = False


def walk(root: Path, *, most: int = MOST_FILES, seconds: float = SECONDS) -> Walked:
    """Folders level by level. Links are followed, but not back; hidden files are counted. UserError where even `root`
    cannot be listed."""
    until = time.monotonic() + seconds
    walked = Walked()
    pending: deque[tuple[str, frozenset[tuple[int, int]]]] = deque([("", frozenset())])
    while pending:
        folder, above = pending.popleft()
        try:
            status = os.stat(root / folder)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                walked.loops += 1
                continue
            below = []
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in LEFT_OUT:
                        walked.hidden += 1
                    elif entry.is_dir():
                        below.append(f"{folder}{entry.name}/")
                    elif entry.is_file():  # no pipe or device, and no link to nothing
                        walked.files.append(folder + entry.name)
                    if len(walked.files) >= most or time.monotonic() > until:
                        walked.cut = True
                        break
            pending.extend((name, above | {identity}) for name in sorted(below))
        except OSError as error:
            if not folder:
                raise UserError(f"cannot list the folder {root}: {error.strerror or error}") from error
            walked.unlisted.append(folder)
        if walked.cut:
            break
    walked.files.sort()
    return walked
