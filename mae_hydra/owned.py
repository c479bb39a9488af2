"""Which files of a folder a command has written: those it replaces and removes, and no others.

A person may name any folder to write to, also one that holds work of theirs under the very names that a command uses.
"""

import json
from contextlib import suppress
from pathlib import Path

from mae_hydra.errors import UserError


class Owned:
    """The files that `command` has written below `folder`, listed in `.mae-hydra-<command>` there, one a line.

    `trusted`: the folder is the command's own by its place, whatever is in it.
    """

    def __init__(self, folder: Path, command: str, *, trusted: bool = False) -> None:
        self.folder, self.command, self.trusted = folder, command, trusted
        self.path = folder / f".mae-hydra-{command}"
        self._names: set[str] = set()
        for line in self.path.read_bytes().splitlines() if self.path.is_file() else ():
            with suppress(ValueError):  # torn by a kill: what it was to name has not been written
                self._names.add(str(json.loads(line)))

    def __contains__(self, path: Path) -> bool:
        return self._name(path) in self._names

    def check(self, path: Path) -> None:
        """UserError where somebody else's file is at `path`."""
        if path not in self and not self.trusted and (path.exists() or path.is_symlink()):
            raise UserError(
                f"{path} is there, and it was not mae-hydra {self.command} that wrote it; give another folder, or move "
                "it away"
            )

    def claim(self, path: Path) -> Path:
        """`path`, below the folder, which is about to be written and from now on belongs to the command."""
        self.check(path)
        if path not in self:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as listing:  # a line at a time: other processes may add theirs
                listing.write(b"\n" + json.dumps(self._name(path)).encode() + b"\n")
            self._names.add(self._name(path))
        return path

    def clear(self) -> None:
        """Remove the files, and the folders that are empty then; nothing is the command's any more."""
        folders: set[Path] = set()
        for name in self._names:
            path = self.folder / name
            path.unlink(missing_ok=True)
            folders |= set(path.parents) - set(self.folder.parents) - {self.folder}
        for folder in sorted(folders, reverse=True):  # what lies deeper first
            with suppress(OSError):  # something else is in it, or it has gone
                folder.rmdir()
        self._names.clear()
        self.path.write_bytes(b"")

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()
