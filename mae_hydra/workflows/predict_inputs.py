"""The pictures that a person names: files, folders and patterns."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mae_hydra.data.listing import find_images, passed_over_note
from mae_hydra.errors import UserError
from mae_hydra.names import file_part


def listed(words: Sequence[str], notes: list[str]) -> Iterator[tuple[Path, Path]]:
    """(file, what it is called in its folder) for files, everything below folders, and patterns.

    `notes` gets a line for each folder in which files are passed over.
    """
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            passed_over: Counter[str] = Counter()
            found = find_images(path, passed_over=passed_over)
            notes += passed_over_note(path, passed_over)
            if not found:
                raise UserError(f"there is no picture below {path}" + "".join(f"; {note}" for note in notes[-1:]))
            yield from ((path / name, Path(name)) for name in found)
        elif path.is_file():
            yield path, Path(path.name)
        else:
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]
            if not matches:
                raise UserError(f"there is no picture {word}; give files, a folder, or a pattern like 'photos/*.jpg'")
            yield from ((match, Path(match.name)) for match in matches)


def named(files: Iterator[tuple[Path, Path]], limit: int | None) -> Iterator[tuple[Path, str]]:
    """Every file once, with a name of its own for what is written: folders stay, equal names are numbered."""
    taken: set[str] = set()
    seen: set[Path] = set()
    for file, called in files:
        if file.resolve() in seen:
            continue
        if limit is not None and len(seen) >= limit:
            return
        seen.add(file.resolve())
        stem = "/".join(file_part(part) for part in called.with_suffix("").parts)
        name, number = stem, 1
        while name.lower() in taken:  # some file systems know no capitals
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        yield file, name
