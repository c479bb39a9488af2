"""Rows of tables as samples: an image each, with a class, a class map or nothing."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_hydra.data.dataset import Header, Stored
from mae_hydra.data.decoding.bands import Channels
from mae_hydra.data.headers import digest_of, image_header
from mae_hydra.data.listing import Names, file_stamp
from mae_hydra.data.readers.contents import contents_of
from mae_hydra.data.shards.labelled import Encoded, Labelled
from mae_hydra.data.shards.order import ShardOrder
from mae_hydra.data.shards.tables import Table, is_address
from mae_hydra.errors import UserError

MOST_BYTES = 2**30  # of row groups that a process holds
_BEGINNINGS = {
    b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif",
    b"MM\0*": ".tif", b"\0\0\0\x0cjP  ": ".jp2",
}  # fmt: skip
LANES = 4  # each is in row groups of its own


class TableSet(Encoded):
    """The rows `rows` (int64, ascending, None: all) of tables, one table after the other (an ImageSet with an order).

    `classes`: the class of what stands in the column `label`; None: there is no such column.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        rows: np.ndarray | None,
        *,
        image: str,
        label: str | None,
        classes: Mapping[Any, int] | None,
        channels: Channels,
        window: int,
    ) -> None:
        self._tables, self._image, self._label, self._classes = list(tables), image, label, classes
        self._channels, self._window = channels, window
        self._groups = [(table, group) for table in self._tables for group in range(len(table.sizes))]
        self._first = np.cumsum([0, *(size for table in self._tables for size in table.sizes)])
        self._begins = np.repeat(  # the first row of each group's table
            np.cumsum([0, *(sum(table.sizes) for table in self._tables[:-1])]),
            [len(table.sizes) for table in self._tables],
        )
        self._rows = np.arange(self._first[-1]) if rows is None else rows
        self._told: dict[int, list[Any]] = {}  # what stands in the column of the classes, by row group
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._reading = threading.Lock()  # look-ahead asks for samples in several threads

    def __len__(self) -> int:
        return len(self._rows)

    def stored(self, index: int) -> Stored:
        """The image as it is stored, and its class id where there are classes."""
        name, encoded, cells = self._cells(index)
        if self._classes is None or self._label is None:
            return Stored(name, encoded, None)
        value = cells[self._label]
        if value not in self._classes:
            raise UserError(
                f"{name} has {value!r} in the column {self._label}, which is none of the {len(self._classes)} classes"
            )
        return Stored(name, encoded, self._classes[value])

    def class_id(self, index: int) -> int | None:
        """Of a row, without its image; None where there are no classes, or its value is none of them."""
        if self._classes is None or self._label is None:
            return None
        group = self._group(index)
        if group not in self._told:
            table, number = self._groups[group]
            self._told[group] = table.read(number, [self._label]).column(self._label).to_pylist()
        return self._classes.get(self._told[group][int(self._rows[index] - self._first[group])])

    def names(self) -> list[str]:
        return [self.name(index) for index in range(len(self))]

    def listing(self) -> str:
        return Names([f"{table.name} {table.sizes}" for table in self._tables] + [_digest(self._rows)]).digest()

    def stamp(self, index: int) -> str:
        return f"{self.name(index)} {self._stamp(self._group(index))}"

    def contents(self) -> str:
        here = [table for table in self._tables if not is_address(table.place)]
        return contents_of(self.listing(), len(here), lambda number: [Path(here[number].place)])

    def header(self, index: int) -> Header:
        name, encoded, _ = self._cells(index)
        return image_header(encoded, self.pixel_range, name)

    def digest(self) -> str:
        here = (Path(table.place) for table in self._tables if not is_address(table.place))
        return digest_of(here, self.listing(), self._image, self._label, self.pixel_range)

    def order(self, seed: int, global_batch: int) -> ShardOrder:
        """An epoch's order in which a process stays with few row groups: each is read for all that it holds."""
        sizes = np.diff(np.searchsorted(self._rows, self._first))
        return ShardOrder(
            sizes[sizes > 0].tolist(), seed=seed, global_batch=global_batch, window=self._window, most_lanes=LANES
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_told", "_held", "_reading")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_told": {}, "_held": OrderedDict(), "_reading": threading.Lock()}

    def _group(self, index: int) -> int:
        return int(np.searchsorted(self._first, self._rows[index], side="right")) - 1

    def name(self, index: int) -> str:
        group = self._group(index)
        return f"{self._groups[group][0].name}:{int(self._rows[index] - self._begins[group])}"

    def _stamp(self, group: int) -> str:
        table, _ = self._groups[group]
        return str(table.sizes) if is_address(table.place) else file_stamp(Path(table.place))

    def _cells(self, index: int) -> tuple[str, bytes, dict[str, Any]]:
        """A row's name, its image, and what stands in its columns."""
        index = range(len(self))[index]
        group = self._group(index)
        row = int(self._rows[index] - self._first[group])
        columns = [self._image, *([self._label] if self._label is not None else [])]
        with self._reading:
            held = self._held.get(group)
            if held is None:
                table, number = self._groups[group]
                held = self._held[group] = table.read(number, columns)
                while len(self._held) > 1 and sum(each.nbytes for each in self._held.values()) > MOST_BYTES:
                    self._held.popitem(last=False)
            self._held.move_to_end(group)
        cells = {column: held.column(column)[row].as_py() for column in columns}
        encoded = _bytes(cells[self._image], self.name(index))
        ending = next((each for begin, each in _BEGINNINGS.items() if encoded.startswith(begin)), "")
        return f"{self.name(index)}{ending}", encoded, cells


class LabelledTableSet(Labelled, TableSet):
    """Rows with a class map in the column `label`."""

    def files(self, index: int) -> tuple[str, bytes, bytes]:
        """A sample's name, its image, and its class map, empty where it has none."""
        name, encoded, cells = self._cells(index)
        beside = cells[self._label] if self._label is not None else None
        return name, encoded, b"" if beside is None else _bytes(beside, name)

    def header(self, index: int) -> Header:
        return self.header_beside(index, super().header(index))

    def digest(self) -> str:
        return f"{super().digest()} {self.facts}"


def _digest(rows: np.ndarray) -> str:
    return Names(map(str, rows[:: max(len(rows) // 1000, 1)].tolist())).digest()


def _bytes(cell: Any, name: str) -> bytes:
    """The encoded picture of a cell: bytes themselves, or {"bytes": …, "path": …}."""
    encoded = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(encoded, bytes):
        told = f", only the path {cell['path']}" if isinstance(cell, dict) and cell.get("path") else ""
        raise UserError(f"{name} holds no picture{told}; tables must hold the files themselves")
    return encoded
