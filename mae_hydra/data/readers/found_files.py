"""The files that patterns of folders and a suffix name, by their keys."""

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from unicodedata import normalize

from mae_hydra.data.listing import ARRAYS, EXTENSIONS, WITH_ARRAYS, find_images
from mae_hydra.data.readers.layout import SPLIT
from mae_hydra.errors import UserError


def files_by_key(
    root: Path,
    patterns: Sequence[str],
    suffix: str,
    name: str,
    twice: list[tuple[str, str]],
    passed_over: Counter[str] | None = None,
    endings: tuple[str, ...] = EXTENSIONS,
    *,
    arrays_last: bool = False,
) -> dict[str, str]:
    """Key -> path below the root; of several patterns the first one that has the key.

    `twice` gets those that are told apart by their ending alone; with `arrays_last` a picture goes before an array.
    """
    suffix = suffix.replace(SPLIT, name)
    found: dict[str, str] = {}
    folders = [folder for pattern in patterns for folder in _folders(root, pattern.replace(SPLIT, name))]
    if not folders:
        shown = " or ".join(pattern.replace(SPLIT, name) for pattern in patterns)
        raise UserError(f"there is no folder {shown} in {root}{_instead(root, patterns[0].replace(SPLIT, name))}")
    for folder, wild in folders:
        names = find_images(root / folder, endings, passed_over)
        names = sorted(names, key=lambda each: each.lower().endswith(ARRAYS)) if arrays_last else names
        for each in names:
            stem, _, ending = each.rpartition(".")
            wanted, given = stem_suffix(suffix), ending_of(suffix)
            if not stem.endswith(wanted) or (given and f".{ending.lower()}" != given):
                continue
            key = normalize("NFC", "/".join((*wild, stem.removesuffix(wanted) if wanted else stem)))
            path = f"{folder}/{each}".removeprefix("./").removeprefix("/")
            alike = found.get(key, path) != path and found[key].rpartition(".")[0] == path.rpartition(".")[0]
            if alike and not (arrays_last and each.lower().endswith(ARRAYS)):
                twice.append((found[key], path))
            found.setdefault(key, path)
    return found


def _folders(root: Path, pattern: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Folders that exist below the root, each with the names that `*` stands for, in order."""

    def descend(done: str, wild: tuple[str, ...], rest: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        if not rest:
            yield done or ".", wild
            return
        first, *others = rest
        if "*" not in first and "?" not in first:
            if (root / done / first).is_dir():
                yield from descend(f"{done}/{first}".lstrip("/"), wild, others)
            return
        with os.scandir(root / done) as entries:
            names = sorted(each.name for each in entries if each.is_dir() and not each.name.startswith("."))
        for each in fnmatch.filter(names, first):
            yield from descend(f"{done}/{each}".lstrip("/"), (*wild, each), others)

    return descend("", (), [part for part in pattern.strip("/").split("/") if part not in ("", ".")])


def _instead(root: Path, pattern: str) -> str:
    """What lies where a folder was looked for."""
    place = root
    for name in pattern.split("/"):
        if not (place / name).is_dir():
            break
        place = place / name
    there = sorted(each.name for each in place.iterdir() if each.is_dir() and not each.name.startswith("."))
    where = "" if place == root else f" in {place.relative_to(root)}/"
    shown = f" (there is {', '.join(f'{each}/' for each in there[:6])}{where})" if there else ""
    return f"{shown}; correct data.root, data.images, data.maps or data.splits"


def below(root: Path, name: str) -> str | None:
    """A listed path below the root; of one that begins on another machine the end that exists here."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    for start in range(len(parts)):
        rest = "/".join(parts[start:])
        if ".." not in parts[start:] and (root / rest).is_file():
            return rest
    return None


def stem_suffix(suffix: str) -> str:
    """What of a suffix belongs to the stem: "_gt" of "_gt.png"."""
    return suffix[: len(suffix) - len(ending_of(suffix))]


def ending_of(suffix: str) -> str:
    """The ending that a suffix tells, ".png" of "_gt.png"; "" where it tells none."""
    return next((each for each in WITH_ARRAYS if suffix.lower().endswith(each)), "")
