"""A set of image files written as shards, for `data=shards`: `mae-hydra make-shards`. Their bytes stay as they are.

Samples are dealt out in a fixed random order, because a set sorted by classes would have shards of one class. Each
shard is either whole or not there; started again, those that are there are passed over.
"""

import hashlib
import io
import json
import multiprocessing
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mae_hydra import atomic
from mae_hydra.data.listing import EXTENSIONS
from mae_hydra.data.shards.files import MANIFEST, passed_over_line, split_of
from mae_hydra.data.shards.index import ANY, CLASS, DECODED, Endings, index_path, read_index, scan, write_index
from mae_hydra.data.shards.maps import MAP, WithMaps
from mae_hydra.data.shards.shrink import StoredSet
from mae_hydra.errors import UserError
from mae_hydra.seeds import generator

PLAN = ".making-shards.json"  # of shards that are being written: those of another set are not mixed with them
PROBES = 200  # samples whose size is looked at to tell how much room all of them need


@dataclass(frozen=True)
class _Task:
    path: Path
    split: str
    samples: np.ndarray
    endings: Endings


def write_shards(
    sets: Mapping[str, StoredSet],
    root: Path,
    *,
    classes: Sequence[str] | None,
    samples_per_shard: int,
    num_workers: int,
    done: Callable[[int], None] = lambda samples: None,
) -> int:
    """Write the splits ("train", "validation") of a set as `root`/SPLIT-000000.tar ... and `shards.json`; bytes in all.

    `classes`: their names, in the order of the class ids; None where there are none. Sets `WithMaps` have their class
    maps written beside the images. `done` is told of the samples of each shard that is written, or was there.
    """
    maps = all(isinstance(of_split, WithMaps) for of_split in sets.values())
    endings = Endings(map=MAP) if maps else ANY
    tasks = [
        task
        for split, of_split in sets.items()
        for task in _deal(root, split, len(of_split), samples_per_shard, endings)
    ]
    _begin(root, sets, samples_per_shard)
    missing = [task for task in tasks if not _is_whole(task)]
    for task in tasks:
        if task not in missing:
            done(len(task.samples))
    _check_room(root, sets, sum(len(task.samples) for task in missing))
    if num_workers > 0:
        context = multiprocessing.get_context("spawn")  # whatever threads this process has
        with ProcessPoolExecutor(num_workers, context, _share, (dict(sets),)) as pool:
            for written in pool.map(_write_shared, missing):
                done(written)
    else:
        for task in missing:
            done(_write(task, sets[task.split]))
    rows = {split: [_row(task.path, endings) for task in tasks if task.split == split] for split in sets}
    colours = [of_split.palette for of_split in sets.values() if isinstance(of_split, WithMaps)]
    _write_manifest(root, rows, classes, endings, colours[0].tolist() if colours else None)
    (root / PLAN).unlink()
    return sum(row["bytes"] for of_split in rows.values() for row in of_split)


def index_shards(
    root: Path,
    done: Callable[[int], None] = lambda samples: None,
    *,
    endings: Endings = ANY,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Write `shards.json` for the tar files of a folder, every one read through; samples by split.

    The split of a file is told by the words in its name (`split_of`). `endings`: where samples hold other pictures too.
    `say` is told what was passed over.
    """
    if (root / MANIFEST).is_file() and not _is_manifest(root / MANIFEST):
        raise UserError(f"{root / MANIFEST} is there and lists no shards; move it away, its place is wanted")
    passed_over: list[str] = []
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(root.glob("*.tar")):
        found = scan(path, endings)
        passed_over += (f"{path.name}:{name}" for name in found.passed_over)
        write_index(path, found, endings)
        row = _row(path, endings)
        rows.setdefault(split_of(path.name), []).append(row)
        done(row["samples"])
    if not rows:
        raise UserError(f"there is no shard (*.tar) in {root}")
    if passed_over:
        say(passed_over_line(len(passed_over), passed_over[0]))
    _write_manifest(root, rows, None, endings)
    return {split: sum(row["samples"] for row in of_split) for split, of_split in rows.items()}


def _is_manifest(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and {"format", "splits"} <= content.keys()


def _deal(root: Path, split: str, size: int, per_shard: int, endings: Endings) -> list[_Task]:
    order = generator(0, "make-shards", split).permutation(size)
    parts = [order[begin : begin + per_shard] for begin in range(0, size, per_shard)]
    return [_Task(root / f"{split}-{number:06d}.tar", split, part, endings) for number, part in enumerate(parts)]


def _begin(root: Path, sets: Mapping[str, StoredSet], per_shard: int) -> None:
    """A new folder, or one in which this very set was begun."""
    if root.exists() and not root.is_dir():
        raise UserError(f"cannot write shards to {root}: it is a file; name a folder")
    looked_at = hashlib.blake2b(digest_size=8)
    for of_split in sets.values():
        for position in np.linspace(0, len(of_split) - 1, min(PROBES, len(of_split)), dtype=np.int64):
            name, encoded, _ = of_split.stored(int(position))
            looked_at.update(f"{name} {len(encoded)} ".encode(errors="surrogateescape"))
    sizes = {split: len(of_split) for split, of_split in sets.items()}
    plan = {"samples": sizes, "samples_per_shard": per_shard, "looked_at": looked_at.hexdigest()}
    begun = root / PLAN
    if begun.is_file():
        if json.loads(begun.read_text()) != plan:
            raise UserError(f"{root} holds the shards of another set, or others of this one; name a new folder")
        return
    atomic.clear_leftovers(root)  # of a call that was killed before it had written anything
    if root.is_dir() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; name a new folder")
    root.mkdir(parents=True, exist_ok=True)
    with atomic.writing(begun) as temporary:
        temporary.write_text(json.dumps(plan))


def _is_whole(task: _Task) -> bool:
    path, endings = task.path, task.endings
    return (
        path.is_file() and index_path(path, endings).is_file() and len(read_index(path, endings)) == len(task.samples)
    )


def _check_room(root: Path, sets: Mapping[str, StoredSet], samples: int) -> None:
    """Before hours of writing: is there room for so many samples of the size that some of them have?"""
    sizes = []
    for of_split in sets.values():
        positions = np.linspace(0, len(of_split) - 1, min(PROBES, len(of_split)), dtype=np.int64)
        sizes += [len(of_split.stored(int(position)).encoded) for position in positions]
    wanted, free = samples * (np.mean(sizes) + 1536), shutil.disk_usage(root).free  # headers, and rounding up
    if wanted > free:
        raise UserError(f"the shards take about {wanted / 1e9:.1f} GB and {root} has {free / 1e9:.1f} GB free")


_sets: dict[str, StoredSet] = {}  # of a writing process


def _share(sets: dict[str, StoredSet]) -> None:
    _sets.update(sets)


def _write_shared(task: _Task) -> int:
    return _write(task, _sets[task.split])


def _write(task: _Task, of_split: StoredSet) -> int:
    """One shard and its index; the same bytes whenever it is written."""
    with atomic.writing(task.path) as temporary, tarfile.open(temporary, "w:", format=tarfile.GNU_FORMAT) as archive:
        for number, position in enumerate(task.samples):
            name, encoded, class_id = of_split.stored(int(position))
            stem, _, ending = name.rpartition(".")
            if f".{ending.lower()}" not in (*EXTENSIONS, DECODED):  # whoever reads the shard goes by it
                raise UserError(
                    f"{name} is of no format whose ending is known, and would not be found in a shard; convert it, to "
                    "PNG say"
                )
            readable = re.sub(r"[^\w-]", "_", stem, flags=re.ASCII)[-70:]
            key = f"{number:06d}-{readable}"  # the same name twice would be one sample
            _add(archive, f"{key}.{ending.lower()}", encoded)
            if class_id is not None:
                _add(archive, f"{key}.{CLASS}", str(class_id).encode())
            if isinstance(of_split, WithMaps):
                _add(archive, f"{key}.{MAP}", of_split.encoded_map(int(position)))
    write_index(task.path, scan(task.path, task.endings), task.endings)
    return len(task.samples)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _row(path: Path, endings: Endings) -> dict[str, Any]:
    return {"file": path.name, "samples": len(read_index(path, endings)), "bytes": path.stat().st_size}


def _write_manifest(
    root: Path,
    rows: Mapping[str, list[dict[str, Any]]],
    classes: Sequence[str] | None,
    endings: Endings = ANY,
    palette: list[list[int]] | None = None,
) -> None:
    content: dict[str, Any] = {"format": 1, "classes": None if classes is None else list(classes)}
    content |= {"image_suffix": endings.image, "map_ending": endings.map, "palette": palette, "splits": rows}
    with atomic.writing(root / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
