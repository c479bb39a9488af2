"""Which shards there are, and how many samples each holds: from `shards.json`, from a pattern, or from a folder.

{"format": 1, "classes": ["cat", "dog"] or null,
 "splits": {"train": [{"file": "train-000000.tar", "samples": 2048, "bytes": 225000000}, ...], "validation": [...]}}
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mae_hydra.data.shard_cache import ShardCache, Unreachable, is_address
from mae_hydra.data.shard_index import BLOCK, read_index
from mae_hydra.errors import UserError, short

MANIFEST = "shards.json"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class Shard:
    """`place`: a path or an address."""

    place: str
    samples: int
    size: int

    @property
    def name(self) -> str:
        return self.place.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class ShardList:
    """The shards of each split that was told apart ("train", "validation"), and the names of the classes if any."""

    splits: dict[str, list[Shard]]
    classes: tuple[str, ...] | None


def list_shards(root: str, cache: ShardCache, wanted: str, key: str = "data.root") -> ShardList:
    """What `root` names: a folder, an address of one, or a pattern of files in one (`{0000..0123}`, `{a,b}`, `*`).

    `key` and `wanted` are for messages: what named it, and what it should name. Shards of a folder or pattern without
    `shards.json` are opened to count their samples, so they must be here.
    """
    if is_pattern(root):
        listed, classes = _manifest(_parent(root), cache)
        return ShardList({"train": _matching(root, listed, wanted)}, classes)
    if not is_address(root) and not Path(root).is_dir():
        raise UserError(f"{key}={root} is {'not a folder' if Path(root).exists() else 'not there'}; {wanted}")
    splits, classes = _manifest(root, cache)
    if not splits:
        if is_address(root):
            raise UserError(f"there is no {MANIFEST} at {root}; {wanted}")
        splits = {"train": _counted(sorted(map(str, Path(root).glob("*.tar"))))}
    if not splits.get("train"):
        raise UserError(f"there is no shard (*.tar) in {key}={root}; {wanted}")
    return ShardList({name: _present(shards) for name, shards in splits.items()}, classes)


def _matching(pattern: str, listed: Mapping[str, list[Shard]], wanted: str) -> list[Shard]:
    """The shards that a pattern names, in its order; UserError where there is none, or one is missing."""
    places = list(expand(pattern))
    if not is_address(pattern):
        places = [str(found) for place in places for found in _globbed(place)]
    if not places:
        raise UserError(f"no shard matches {pattern}; {wanted}")
    known = {shard.place: shard for shards in listed.values() for shard in shards}
    unknown = [place for place in places if place not in known]
    if unknown and is_address(pattern):
        raise UserError(
            f"how many samples {unknown[0]} holds is not known: {MANIFEST} beside it does not name it; make one where "
            "the shards are with `mae-hydra make-shards --index <folder>` and put it there"
        )
    known |= {shard.place: shard for shard in _counted(unknown)}
    return _present([known[place] for place in places])


def is_pattern(root: str) -> bool:
    return bool(_BRACES.search(root)) or "*" in root or root.endswith(".tar")


def expand(pattern: str) -> Iterator[str]:
    """`a-{08..10}.tar` is a-08.tar, a-09.tar, a-10.tar, and `{x,y}.tar` x.tar, y.tar; several braces are combined."""
    parts = _BRACES.split(pattern)  # text, inside, text, inside, ..., text
    choices = [list(_choices(inside)) for inside in parts[1::2]]
    for chosen in product(*choices):
        yield parts[0] + "".join(value + text for value, text in zip(chosen, parts[2::2], strict=True))


def _choices(inside: str) -> Iterator[str]:
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        yield from inside.split(",")
        return
    first, last = numbers.groups()
    for number in range(int(first), int(last) + 1):
        yield f"{number:0{len(first)}d}"


def _globbed(place: str) -> list[Path]:
    path = Path(place)
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path]


def _parent(pattern: str) -> str:
    return pattern.rsplit("/", 1)[0] if "/" in pattern else "."


def _manifest(folder: str, cache: ShardCache) -> tuple[dict[str, list[Shard]], tuple[str, ...] | None]:
    """({}, None) where there is none."""
    if is_address(folder):
        folder = folder.rstrip("/")
        try:
            path = cache.anew(f"{folder}/{MANIFEST}")
        except Unreachable:
            return {}, None
    else:
        path = Path(folder) / MANIFEST
        if not path.is_file():
            return {}, None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != 1:
            raise ValueError(f"its format is {content['format']}, known is 1")
        splits = {str(name): [_listed(folder, row) for row in rows] for name, rows in content["splits"].items()}
        classes = content.get("classes")
        return splits, None if classes is None else tuple(map(str, classes))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"cannot read {path} ({type(error).__name__}: {short(error)}); write it anew with "
            "`mae-hydra make-shards --index <folder>`"
        ) from error


def _listed(folder: str, row: Mapping[str, Any]) -> Shard:
    """ValueError where a shard would lie elsewhere, or could not hold as many samples as are said."""
    file, samples, size = str(row["file"]), int(row["samples"]), int(row["bytes"])
    if ".." in file.split("/") or file.startswith("/") or not file.isprintable():
        raise ValueError(f"{short(file)} is not in that folder")
    if not 0 < samples <= size // BLOCK:
        raise ValueError(f"{short(file)} cannot hold {samples} samples in {size} bytes")
    return Shard(f"{folder}/{file}", samples, size)


def _counted(places: Sequence[str]) -> list[Shard]:
    """Shards on this machine, opened: some at once, because each waits for its disk."""
    with ThreadPoolExecutor(16) as pool:
        counts = pool.map(lambda place: len(read_index(Path(place))), places)
        return [Shard(place, n, Path(place).stat().st_size) for place, n in zip(places, counts, strict=True)]


def _present(shards: list[Shard]) -> list[Shard]:
    """All of them, each as long as it should be, where they are on this machine."""
    bad = []
    for shard in shards:
        if not is_address(shard.place):
            path = Path(shard.place)
            size = path.stat().st_size if path.is_file() else None
            if size != shard.size:
                bad.append(f"{path} ({'missing' if size is None else f'{size} of {shard.size} bytes'})")
    if bad:
        raise UserError(
            f"{len(bad)} of {len(shards)} shards are missing or cut short, {bad[0]} for one; get them again, or write "
            f"{MANIFEST} anew for those that are there with `mae-hydra make-shards --index <folder>`"
        )
    return shards
