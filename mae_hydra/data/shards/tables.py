"""Tables of samples as Hugging Face keeps them, Parquet and Arrow files: which there are, and any row group of one.

A place is a path, or an address of fsspec's (`hf://datasets/…`, `s3://…`), of which only the row groups that are asked
for are fetched.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mae_hydra.errors import UserError, short

ENDINGS = (".parquet", ".arrow")
NUMBERED = re.compile(
    r"(.*-)(\d{5})-of-(\d{5})(\.\w+)", re.DOTALL
)  # as Hugging Face's library calls the parts of a split
SYNONYMS = {"train": ("training",), "validation": ("val", "valid", "dev"), "test": ("testing",)}


def arrow() -> Any:
    """The module pyarrow; UserError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("data=huggingface needs pyarrow: pip install 'mae-hydra[huggingface]'") from error
    return pyarrow


def is_address(place: str) -> bool:
    return "://" in place


@dataclass(frozen=True)
class Table:
    """One file. `name`: its path below the folder of the set."""

    place: str
    name: str

    @property
    def file(self) -> Any:
        """Opened in this process, by its headers alone: a ParquetFile, or an Arrow file's batches, mapped."""
        held = self.__dict__.get("_opened")
        if held is None or held[0] != os.getpid():  # what a forked process inherits shares its place with the parent's
            held = self.__dict__["_opened"] = (os.getpid(), self._open())
        return held[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _open(self) -> Any:
        pa = arrow()
        try:
            if self.place.lower().endswith(".arrow"):
                source = pa.memory_map(self.place)
                try:
                    return pa.ipc.open_stream(source).read_all().to_batches()
                except pa.ArrowInvalid:
                    return pa.ipc.open_file(source).read_all().to_batches()
            if is_address(self.place):
                import fsspec

                return pa.parquet.ParquetFile(fsspec.open(self.place, "rb").open())
            return pa.parquet.ParquetFile(self.place, memory_map=True)
        except Exception as error:  # a damaged file fails in any way it likes
            raise UserError(f"cannot read the table {self.place} ({short(error)}); get it again") from error

    @property
    def schema(self) -> Any:
        return self.file[0].schema if isinstance(self.file, list) else self.file.schema_arrow

    @cached_property
    def sizes(self) -> list[int]:
        """Rows of each row group."""
        if isinstance(self.file, list):
            return [batch.num_rows for batch in self.file]
        metadata = self.file.metadata
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]

    def num_missing(self, column: str) -> int:
        """How many rows have nothing in a column, as far as the headers tell."""
        if isinstance(self.file, list):
            return sum(batch.column(column).null_count for batch in self.file)
        metadata = self.file.metadata
        places = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
        if column not in places:
            return 0
        chunks = (metadata.row_group(group).column(places.index(column)) for group in range(metadata.num_row_groups))
        return sum((chunk.statistics.null_count or 0) for chunk in chunks if chunk.statistics is not None)

    def bounds(self, column: str) -> tuple[Any, Any] | None:
        """The lowest and the highest of a column, where the headers of all row groups tell them."""
        if isinstance(self.file, list) or column not in self.schema.names:
            return None
        metadata = self.file.metadata
        paths = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
        if column not in paths:
            return None
        groups = range(metadata.num_row_groups)
        told = [metadata.row_group(group).column(paths.index(column)).statistics for group in groups]
        if not told or any(each is None or not each.has_min_max for each in told):
            return None
        return min(each.min for each in told), max(each.max for each in told)

    def read(self, group: int, columns: Sequence[str]) -> Any:
        """A row group's columns; UserError where they cannot be read."""
        if isinstance(self.file, list):
            return self.file[group].select(list(columns))
        try:
            return self.file.read_row_group(group, columns=list(columns), use_threads=False)
        except Exception as error:
            raise UserError(f"cannot read the table {self.place} ({short(error)}); get it again") from error


def tables_of(place: str, subset: str | None) -> list[Table]:
    """The tables at a place: a file, a folder, or an address of one; UserError where there are none.

    `subset`: a folder that they lie in, where a set has several configurations.
    """
    if place.lower().endswith(ENDINGS):
        found = {place.rpartition("/")[2]: place}
    elif is_address(place):
        import fsspec

        files, root = fsspec.core.url_to_fs(place)
        scheme = place.partition("://")[0]
        names = [name for ending in ENDINGS[:1] for name in files.glob(f"{root}/**/*{ending}")]
        found = {name.removeprefix(f"{root}/"): f"{scheme}://{name}" for name in names}
    else:
        paths = [path for path in Path(place).rglob("*") if path.suffix.lower() in ENDINGS]
        found = {
            path.relative_to(place).as_posix(): str(path) for path in paths if not path.name.startswith(("cache-", "."))
        }
    if subset is not None:
        found = {name: each for name, each in found.items() if subset in name.split("/")[:-1]}
    if not found:
        where = f" in a folder {subset}" if subset is not None else ""
        raise UserError(
            f"there is no table ({' '.join(ENDINGS)}) at data.path={place}{where}; give a folder or file of them, or "
            "the name of a data set of the hub, org/name"
        )
    return [Table(found[name], name) for name in sorted(found)]


def missing_of(names: Iterable[str]) -> list[str]:
    """The files that the names of others tell of, `train-00001-of-00003.parquet`, and that are not among them."""
    there = set(names)
    told = {match.group(1, 3, 4) for name in there if (match := NUMBERED.fullmatch(name))}
    every = (f"{begin}{n:0{len(of)}d}-of-{of}{end}" for begin, of, end in sorted(told) for n in range(int(of)))
    return [name for name in every if name not in there]


def by_side(tables: Sequence[Table], splits: Mapping[str, str | None]) -> dict[str, list[Table]]:
    """The tables of each side, by the innermost part of their names that tells a split; those that tell none train."""
    sides: dict[str, list[Table]] = {}
    for table in tables:
        parts = reversed(table.name.lower().split("/"))
        told = (side for part in parts for side, name in splits.items() if name and _names(part, side, name))
        sides.setdefault(next(told, "train"), []).append(table)
    return sides


def _names(part: str, side: str, name: str) -> bool:
    words = (name.lower(), *(SYNONYMS.get(side, ()) if name == side else ()))
    return any(re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", part) for word in words)


def features_of(table: Table) -> dict[str, Any]:
    """What Hugging Face's library says of the columns, {"label": {"_type": "ClassLabel", "names": […]}}."""
    metadata = table.schema.metadata or {}
    try:
        found = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
