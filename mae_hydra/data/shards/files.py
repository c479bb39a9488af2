"""Which shards there are, and how many samples each holds: from `shards.json`, from a pattern, or from a folder.

{"format": 1, "classes": ["cat", "dog"] or null, "image_suffix": "jpg" or null, "map_ending": "map.png" or null,
 "splits": {"train": [{"file": "train-000000.tar", "samples": 2048, "bytes": 225000000}, ...], "validation": [...]}}
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from mae_hydra.data.shards.cache import ShardCache, Unreachable, is_address
from mae_hydra.data.shards.index import ANY, BLOCK, Endings, num_passed_over, read_index, scan
from mae_hydra.errors import UserError, short

MANIFEST = "shards.json"
SPLIT_WORDS = {"validation": {"val", "valid", "validation", "dev"}, "test": {"test", "testing"}}
PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
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
    """The shards of each split that was told apart ("train", "validation", "test"), and what their list says of all.

    `endings`: those of images and class maps, where they are told. `palette`: a colour of each class. `notes`: what to
    say of them.
    """

    splits: dict[str, list[Shard]]
    classes: tuple[str, ...] | None
    endings: Endings = ANY
    notes: tuple[str, ...] = ()
    palette: tuple[tuple[int, ...], ...] | None = None

    def all_shards(self) -> list[Shard]:
        return [shard for shards in self.splits.values() for shard in shards]


def list_shards(
    root: str, cache: ShardCache, wanted: str, *, key: str = "data.root", endings: Endings = ANY
) -> ShardList:
    """What `root` names: a folder, an address of one, or a pattern of files in one (`{0000..0123}`, `{a,b}`, `*`).

    `key` and `wanted` are for messages: what named it, and what it should name. Shards of a folder or pattern without
    `shards.json` are opened to count their samples, so they must be here. Their splits are told by their names, of
    what `shards.json` lists by it.
    """
    manifest = _manifest(_parent(root) if is_pattern(root) else root, cache)
    endings = Endings(endings.image or manifest.endings.image, endings.map or manifest.endings.map)
    if is_pattern(root):
        matching = _matching(root, manifest.splits, wanted, endings)
        splits = _by_split(matching, manifest.splits)
        if len(splits) == 1:  # then they were named for what they are used for
            return replace(
                manifest,
                splits={"train": matching},
                endings=endings,
                notes=tuple(_passed_over_notes(matching, endings)),
            )
        return replace(_told_apart(splits, manifest.classes, endings), palette=manifest.palette)
    if not is_address(root) and not Path(root).is_dir():
        raise UserError(f"{key}={root} is {'not a folder' if Path(root).exists() else 'not there'}; {wanted}")
    if manifest.splits:
        splits = {name: _present(shards) for name, shards in manifest.splits.items()}
        return replace(manifest, splits=splits, endings=endings)
    if is_address(root):
        raise UserError(f"there is no {MANIFEST} at {root}; {wanted}")
    places = sorted(map(str, Path(root).glob("*.tar")))
    packed = [path.name for path in sorted(Path(root).iterdir()) if path.name.lower().endswith(PACKED)]
    if not places:
        instead = f" (there is {packed[0]}: unpack it with gunzip)" if packed else ""
        raise UserError(f"there is no shard (*.tar) in {key}={root}{instead}; {wanted}")
    return _told_apart(_by_split(_present(_counted(places, endings)), {}), None, endings, packed)


def split_of(name: str) -> str:
    """The split that a file is of by the words in its name: "imagenet-validation-00.tar" is of "validation"."""
    words = set(re.findall("[a-z]+", name.rpartition("/")[2].lower()))
    return next((split for split, known in SPLIT_WORDS.items() if words & known), "train")


def _by_split(shards: Sequence[Shard], listed: Mapping[str, list[Shard]]) -> dict[str, list[Shard]]:
    """By the list where it has a shard, else by its name."""
    known = {shard.place: split for split, those in listed.items() for shard in those}
    splits: dict[str, list[Shard]] = {}
    for shard in shards:
        splits.setdefault(known.get(shard.place) or split_of(shard.name), []).append(shard)
    return splits


def _told_apart(
    splits: dict[str, list[Shard]], classes: tuple[str, ...] | None, endings: Endings, packed: Sequence[str] = ()
) -> ShardList:
    """Of shards that were told apart without a word of the user: how, and what was passed over in them."""
    shards = [shard for those in splits.values() for shard in those]
    notes = []
    if len(splits) > 1:
        counts = ", ".join(f"{len(splits[name])} {name} ({splits[name][0].name})" for name in sorted(splits))
        notes.append(f"note: the splits of the shards are told by their names or list: {counts}")
    if packed:
        notes.append(f"warning: {len(packed)} compressed shards are passed over ({packed[0]}); unpack them with gunzip")
    return ShardList(splits, classes, endings, (*notes, *_passed_over_notes(shards, endings)))


def _passed_over_notes(shards: Sequence[Shard], endings: Endings) -> list[str]:
    local = [shard for shard in shards if not is_address(shard.place)]
    counts = [(num_passed_over(Path(shard.place), endings), shard) for shard in local]
    total = sum(count for count, _ in counts)
    if not total:
        return []
    first = next(shard for count, shard in counts if count)
    return [passed_over_line(total, f"{first.name}:{scan(Path(first.place), endings).passed_over[0]}")]


def passed_over_line(total: int, example: str) -> str:
    """What to say of pictures in shards that belong to no sample."""
    count = f"{total} picture{'' if total == 1 else 's'}"
    return (
        f"warning: {count} in shards passed over, {example} for one: a sample's name "
        "ends at its first dot; write names without other dots, or tell what follows with data.image_suffix=<ending>"
    )


def _matching(pattern: str, listed: Mapping[str, list[Shard]], wanted: str, endings: Endings) -> list[Shard]:
    """The shards that a pattern names, in its order; UserError where there is none, one is missing or named twice."""
    places = list(expand(pattern))
    if not is_address(pattern):
        places = [str(found) for place in places for found in _globbed(place)]
    if not places:
        raise UserError(f"no shard matches {pattern}; {wanted}")
    if doubled := [place for place, count in Counter(places).items() if count > 1]:
        raise UserError(f"{pattern} names {doubled[0]} more than once; its samples would count twice")
    known = {shard.place: shard for shards in listed.values() for shard in shards}
    unknown = [place for place in places if place not in known]
    if unknown and is_address(pattern):
        raise UserError(
            f"how many samples {unknown[0]} holds is not known: {MANIFEST} beside it does not name it; make one where "
            "the shards are with `mae-hydra make-shards --index <folder>` and put it there"
        )
    known |= {shard.place: shard for shard in _counted(unknown, endings)}
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


def _manifest(folder: str, cache: ShardCache) -> ShardList:
    """Without a split where there is none."""
    nothing = ShardList({}, None)
    if is_address(folder):
        folder = folder.rstrip("/")
        try:
            path = cache.anew(f"{folder}/{MANIFEST}")
        except Unreachable:
            return nothing
    else:
        path = Path(folder) / MANIFEST
        if not path.is_file():
            return nothing
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != 1:
            raise ValueError(f"its format is {content['format']}, known is 1")
        splits = {str(name): [_listed(folder, row) for row in rows] for name, rows in content["splits"].items()}
        classes, colours = content.get("classes"), content.get("palette")
        told = (content.get(key) for key in ("image_suffix", "map_ending"))
        return ShardList(
            splits,
            None if classes is None else tuple(map(str, classes)),
            Endings(*(None if each is None else str(each) for each in told)),
            palette=None if colours is None else tuple(tuple(map(int, colour)) for colour in colours),
        )
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


def _counted(places: Sequence[str], endings: Endings) -> list[Shard]:
    """Shards on this machine, opened: some at once, because each waits for its disk."""
    with ThreadPoolExecutor(16) as pool:
        counts = pool.map(lambda place: len(read_index(Path(place), endings)), places)
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
