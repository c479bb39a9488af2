"""A tar, or a folder of tars, looked at: samples as webdataset stores them, or a folder that was packed."""

import tarfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mae_hydra.data.listing import EXTENSIONS, JPEG_ENDINGS
from mae_hydra.data.looking.found import Found, Labels, Part, Split, side_order
from mae_hydra.data.looking.pixels import Budget, Look, look_at, summary
from mae_hydra.data.looking.places import role_of, split_of
from mae_hydra.data.shards.files import MANIFEST
from mae_hydra.data.shards.files import split_of as side_of
from mae_hydra.data.shards.index import CLASS
from mae_hydra.errors import UserError, short

SECONDS = 30.0
LOOKS = 8  # pictures that are opened in the first tars
MAPS = 8  # times as many second pictures of samples, which may be class maps
TARS = (".tar",)


class _Contents:
    """What the samples of some tars consist of."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()  # of the pictures of each sample
        self.by_shard: Counter[str] = Counter()
        self.looks: list[Look] = []
        self.class_ids: set[int] = set()
        self.folders: set[str] = set()
        self.doubled = 0  # samples that hold several pictures
        self.seconds: dict[str, list[Look]] = {}  # of those that are not the first of their sample, by ending
        self.read_whole = True


def look_at_tars(root: Path, tars: list[Path], seconds: float = SECONDS) -> Found:
    """`root`: what was named, a tar or a folder of them. UserError where not one can be read."""
    contents, budget, until = _Contents(), Budget(), time.monotonic() + seconds
    bad: list[str] = []
    for number, path in enumerate(tars):
        if time.monotonic() > until:
            contents.read_whole = False
            break
        try:
            _read(path, contents, budget, until, looks=LOOKS * (number + 1))
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            bad.append(f"{path.name} cannot be read ({short(error)})")
    if not contents.by_shard:
        reason = f": {bad[0]}" if bad else ""
        raise UserError(
            f"there is no picture in {root}{reason}; unpack what is compressed (gunzip, tar -xf) and look at the folder"
        )
    counts: Counter[Split] = Counter()
    for name, count in contents.by_shard.items():
        side = side_of(name)
        counts[Split(side, side)] += count
    endings = [ending for ending, _ in contents.endings.most_common()]
    packed = any(split_of(part) or role_of(part) for name in contents.folders for part in name.split("/"))
    notes = list(bad)
    if not contents.read_whole:
        notes.append("there is more than was looked at: numbers are of the part that was read")
    part = Part(
        "",
        "",
        tuple(f".{e}" for e in endings),
        dict(sorted(counts.items(), key=lambda c: side_order(c[0]))),
        summary(contents.looks),
    )
    photo = next((e for e in endings if f".{e}" in JPEG_ENDINGS), endings[0]) if contents.doubled else ""
    told = [ending for ending, seen in contents.seconds.items() if ending != photo and are_maps(seen)]
    map_ending = told[0] if len(told) == 1 and not packed else ""
    if packed and not contents.class_ids:
        notes.append(
            f"folders such as {min(contents.folders)}/ are packed in it: unpack it (tar -xf), and look at that"
        )
    return Found(
        root,
        "shards",
        photos=(part,),
        num_classes=max(contents.class_ids, default=-1) + 1,
        names=_names(root if root.is_dir() else root.parent),
        image_suffix=photo,
        map_ending=map_ending,
        map_labels=labels_of(contents.seconds[map_ending], sum(counts.values())) if map_ending else None,
        notes=tuple(notes),
        complete=contents.read_whole,
    )


def are_maps(looks: Sequence[Look]) -> bool:
    """Whether most of some pictures look like class maps."""
    return bool(looks) and 2 * sum(look.is_map_like() for look in looks) > len(looks)


def labels_of(looks: Sequence[Look], of: int) -> Labels:
    """What the class maps hold that were looked at."""
    colours: Counter[tuple[int, int, int]] = Counter()
    for look in looks:
        colours.update(look.colours or {})
    total = sum(colours.values()) or 1
    return Labels(
        len(looks),
        of,
        {"train": tuple(look.values for look in looks if look.values is not None)},
        tuple((colour, count / total) for colour, count in colours.most_common()),
        next((look.map_problem for look in looks if look.map_problem), ""),
    )


def tars_in(root: Path, files: list[str]) -> list[Path]:
    """The tars right in a folder, where tars are what it holds."""
    tars = [name for name in files if name.lower().endswith(TARS) and "/" not in name]
    pictures = any(name.lower().endswith(EXTENSIONS) for name in files)
    return [root / name for name in tars] if tars and not pictures else []


def _read(path: Path, contents: _Contents, budget: Budget, until: float, looks: int) -> None:
    last: tuple[str, str] | None = None
    pictures: list[str] = []
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if time.monotonic() > until:
                contents.read_whole = False
                break
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            ending = ending.lower()
            if not member.isreg() or name.startswith("."):
                continue
            if (folder, stem) != last:
                last, pictures = (folder, stem), []
            if ending == CLASS:
                text = archive.extractfile(member)
                words = text.read(20).strip() if text else b""
                if words.isdigit():
                    contents.class_ids.add(int(words))
            elif f".{ending.rpartition('.')[2]}" in EXTENSIONS:
                pictures.append(ending)
                contents.folders.add(folder)
                contents.endings[ending] += 1
                contents.doubled += len(pictures) == 2
                contents.by_shard[path.name] += len(pictures) == 1
                second = len(pictures) > 1
                seen = contents.seconds.setdefault(ending, []) if second else contents.looks
                if len(seen) < looks * (MAPS if second else 1) and member.size < 2**26:
                    file = archive.extractfile(member)
                    seen.append(look_at(file.read() if file else b"", member.name, budget, as_map=second))


def _names(folder: Path) -> tuple[str, ...]:
    """Of the classes, from a text file beside the tars, where `shards.json` does not tell them."""
    if (folder / MANIFEST).is_file():
        from mae_hydra.data.shards.cache import ShardCache
        from mae_hydra.data.shards.files import list_shards

        try:
            return list_shards(str(folder), ShardCache(folder, 1), "").classes or ()
        except UserError:
            return ()
    path = folder / "classes.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip() for line in lines if line.strip())
