"""Samples of tar files by position: which shard is read where, and what of it is fetched ahead."""

import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mae_hydra.data.dataset import Header, Stored, spread
from mae_hydra.data.decoding.bands import Channels
from mae_hydra.data.headers import digest_of, image_header
from mae_hydra.data.listing import Names, file_stamp
from mae_hydra.data.readers.contents import contents_of
from mae_hydra.data.shards.cache import ShardCache, is_address
from mae_hydra.data.shards.files import Shard
from mae_hydra.data.shards.index import ANY, Endings, name_before, read_index
from mae_hydra.data.shards.labelled import Encoded, Labelled
from mae_hydra.data.shards.order import ShardOrder
from mae_hydra.errors import UserError

log = logging.getLogger("mae_hydra")

OPEN_SHARDS = 128  # of a process at a time
DROPPED = 3  # times that a copy may go before it is open


class _OpenShard:
    """A shard's descriptor and its index; closed when nobody holds it any more."""

    def __init__(self, path: Path, table: np.ndarray) -> None:
        self.file, self.table = os.open(path, os.O_RDONLY), table

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)


class ShardSet(Encoded):
    """The samples of shards, one shard after the other (an ImageSet with an order of its own)."""

    def __init__(
        self,
        shards: Sequence[Shard],
        *,
        cache: ShardCache,
        channels: Channels,
        num_classes: int,
        window: int,
        endings: Endings = ANY,
    ) -> None:
        self._endings = endings
        self._shards, self._cache, self._window = list(shards), cache, window
        self._channels, self._num_classes = channels, num_classes
        self._first = np.cumsum([0, *(shard.samples for shard in shards)])
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._opening = threading.Lock()  # look-ahead asks for samples in several threads
        self._coming: queue.SimpleQueue[Shard] | None = None
        self._stamps: list[str] = []

    def __len__(self) -> int:
        return int(self._first[-1])

    def sample_of_images(self, shards: int = 8, each: int = 8) -> list[int]:
        """Positions spread over a few shards; none where they lie elsewhere, because each would be fetched for it."""
        if is_address(self._shards[0].place):
            return []
        return [
            int(self._first[number]) + place
            for number in spread(len(self._shards), shards)
            for place in spread(self._shards[number].samples, each)
        ]

    def stored(self, index: int) -> Stored:
        """The file itself, and its class id where there are classes."""
        name, encoded, label = self.files(index)
        known = self._num_classes and not self._endings.map
        return Stored(name, encoded, self._class_id(label, name) if known else None)

    def check_classes(self) -> None:
        """UserError where one of some samples has a class id that is none of the classes; images are not read."""
        for index in self.sample_of_images(each=64) if self._num_classes and not self._endings.map else ():
            shard, within, (begin, _, label_begin, label_length) = self._placed(index)
            self._class_id(
                os.pread(shard.file, label_length, label_begin), f"{within}:{name_before(shard.file, begin)}"
            )

    def files(self, index: int) -> tuple[str, bytes, bytes]:
        """A sample's name, its image, and its class id or class map, empty where it has none."""
        shard, within, (begin, length, label_begin, label_length) = self._placed(index)
        label = os.pread(shard.file, label_length, label_begin) if self._num_classes else b""
        return f"{within}:{name_before(shard.file, begin)}", os.pread(shard.file, length, begin), label

    def _placed(self, index: int) -> tuple[_OpenShard, str, list[int]]:
        """Its shard, which is open as long as it is held, its name, and where its image and its label begin and how
        long they are."""
        index = range(len(self))[index]
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        shard = self._opened(number)
        return shard, self._shards[number].name, shard.table[index - self._first[number]].tolist()

    def listing(self) -> str:
        """Of the shards: their names and sizes."""
        return Names(f"{shard.name} {shard.samples} {shard.size}" for shard in self._shards).digest()

    def name(self, index: int) -> str:
        """Its shard's, and its place there."""
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return f"{self._shards[number].name}:{index - self._first[number]}"

    def stamp(self, index: int) -> str:
        """Of the whole shard: which of its samples has changed is not known."""
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        if not self._stamps:
            self._stamps.extend(map(_shard_stamp, self._shards))
        return f"{self._stamps[number]} {index - self._first[number]}"

    def contents(self) -> str:
        here = [shard for shard in self._shards if not is_address(shard.place)]
        return contents_of(self.listing(), len(here), lambda number: [Path(here[number].place)])

    def order(self, seed: int, global_batch: int) -> ShardOrder:
        """An epoch's order in which each process stays with few shards; those to come are fetched ahead."""
        sizes = [shard.samples for shard in self._shards]
        return ShardOrder(sizes, seed=seed, global_batch=global_batch, window=self._window, ahead=self._fetch)

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process."""
        own = ("_open", "_opening", "_coming")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_open": OrderedDict(), "_opening": threading.Lock(), "_coming": None}

    def _opened(self, number: int) -> _OpenShard:
        with self._opening:
            if number in self._open:
                self._open.move_to_end(number)
            else:
                opened = self._open_shard(number)
                while len(self._open) >= OPEN_SHARDS:
                    self._open.popitem(last=False)
                self._open[number] = opened
            return self._open[number]

    def _open_shard(self, number: int) -> _OpenShard:
        shard = self._shards[number]
        if not is_address(shard.place):
            return self._opened_at(Path(shard.place), shard)
        for _ in range(DROPPED):
            path = self._cache.local(shard.place, shard.size)
            with suppress(FileNotFoundError, UserError):  # another process dropped it for room in between
                return self._opened_at(path, shard)
            if path.exists():
                break
        return self._opened_at(self._cache.local(shard.place, shard.size), shard)

    def _opened_at(self, path: Path, shard: Shard) -> _OpenShard:
        table = read_index(path, self._endings)
        if len(table) != shard.samples:
            raise UserError(f"the shard {shard.place} holds {len(table)} samples, its list says {shard.samples}")
        return _OpenShard(path, table)

    def _class_id(self, text: bytes, name: str) -> int:
        if not text:
            wanted = f"{name.rpartition('.')[0]}.cls"
            raise UserError(
                f"{name} has no class id ({wanted}, right before or behind it); use data.num_classes=0 without classes"
            )
        number = int(text) if text.strip().isdigit() else -1
        if not 0 <= number < self._num_classes:
            said = text.decode(errors="replace").strip()[:20]
            raise UserError(f"the class of {name} is {said!r}; class ids are 0..{self._num_classes - 1}")
        return number

    def _fetch(self, shards: Sequence[int]) -> None:
        """Have them fetched by a thread of this process, one after the other, if they lie elsewhere."""
        coming = [self._shards[number] for number in shards if is_address(self._shards[number].place)]
        if coming and self._coming is None:
            self._coming = queue.SimpleQueue()
            threading.Thread(target=self._keep_fetching, args=(self._coming,), daemon=True).start()
        for shard in coming:
            assert self._coming is not None
            self._coming.put(shard)

    def _keep_fetching(self, coming: "queue.SimpleQueue[Shard]") -> None:
        while True:
            shard = coming.get()
            try:
                self._cache.local(shard.place, shard.size)
            except Exception as error:  # who needs it tries again, and then it is an error
                log.warning("%s", error)


def _shard_stamp(shard: Shard) -> str:
    """Of one that lies elsewhere, what its list says."""
    known = str(shard.size) if is_address(shard.place) else file_stamp(Path(shard.place))
    return f"{shard.place} {known}"


class ShardsHere(ShardSet):
    """Shards on this machine, whose headers can be looked at before the samples are needed (Foreseeable)."""

    def header(self, index: int) -> Header:
        name, encoded, _ = self.files(index)
        return image_header(encoded, self.pixel_range, name)

    def digest(self) -> str:
        return digest_of(
            (Path(shard.place) for shard in self._shards), self.listing(), tuple(self._endings), self.pixel_range
        )


class LabelledShards(Labelled, ShardSet):
    """Shards with class maps."""


class LabelledShardsHere(Labelled, ShardsHere):
    """The same, on this machine."""

    def header(self, index: int) -> Header:
        return self.header_beside(index, super().header(index))

    def digest(self) -> str:
        return f"{super().digest()} {self.facts}"
