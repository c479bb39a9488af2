"""Which files of a folder a command has written: those it replaces and removes, and no others.

A person may name any folder to write to, also one that holds work of theirs under the very names that a command uses.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from mae_hydra.errors import UserError


class Owned:
    """The files that `command` has written below `folder`, listed in `.mae-hydra-<command>` there, one a line.

    `trusted`: the folder is the command's own by its place, whatever is in it. The folder may come from anybody: what
    its list names outside of it, also through a link, is not the command's. UserError where the list is a link, or no
    file.
    """

    def __init__(self, folder: Path, command: str, *, trusted: bool = False) -> None:
        self.folder, self.command, self.trusted = folder, command, trusted
        self.path = folder / f".mae-hydra-{command}"
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise UserError(
                f"{self.path} is not the list that mae-hydra {command} writes; remove it, or give another folder"
            )
        listed = map(_listed, self.path.read_bytes().splitlines() if self.path.is_file() else ())
        self._names = {name for name in listed if name is not None and _lies_in(folder, name)}

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
            if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):  # a folder there is a person's
                path.unlink()
            folders |= set(path.parents) - set(self.folder.parents) - {self.folder}
        for folder in sorted(folders, reverse=True):  # what lies deeper first
            with suppress(OSError):  # something else is in it, or it has gone
                folder.rmdir()
        self._names.clear()
        self.path.write_bytes(b"")

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _listed(line: bytes) -> str | None:
    """The name on a line; None for one torn by a kill: what it was to name has not been written."""
    try:
        name = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _lies_in(folder: Path, name: str) -> bool:
    """Whether what a list calls `name` is below `folder` for certain, wherever links on the way lead."""
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute() or "\0" in name:
        return False
    return (folder / name).parent.resolve().is_relative_to(folder.resolve())
