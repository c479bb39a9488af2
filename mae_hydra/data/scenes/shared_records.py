"""What one process has made, for all that were forked from the same one."""

import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import Any

HEADER = struct.Struct("<qI")  # index + 1 (0: free), and the CRC-32 of the record, begun at its index
TRIES = 8  # places of an index, where there are fewer places than records


class SharedRecords:
    """Records of `size` bytes by index in 0..`count` - 1, as many as fit into `most` bytes; the first ones stay.

    The memory is anonymous: /dev/shm is not used, and pages that nothing was written to cost nothing. Processes share
    it from a fork on; a pickled copy begins empty. Nobody waits for a lock: a record counts only if its own copy has
    the checksum, in whatever order another processor sees what was written. All must write the same for an index.
    """

    def __init__(self, count: int, size: int, most: int) -> None:
        self._arguments = count, size, most
        self._size = size
        self._room = min(count, most // (HEADER.size + size))
        self._memory = mmap.mmap(-1, max(1, self._room * (HEADER.size + size)))  # of no bytes there is none

    def get(self, index: int) -> bytearray | None:
        """A copy of the record; None where there is none."""
        for place, held, checksum in self._places(index):
            if held == index + 1:
                with memoryview(self._memory) as view:
                    record = bytearray(view[place : place + self._size])
                return record if zlib.crc32(record, index) == checksum else None
        return None

    def put(self, index: int, record: bytes | bytearray) -> None:
        """Keep the record if there is room."""
        for place, held, _ in self._places(index):
            if held in (0, index + 1):  # its own where two wrote at once
                self._memory[place : place + self._size] = record
                HEADER.pack_into(self._memory, place - HEADER.size, index + 1, zlib.crc32(record, index))
                return

    def _places(self, index: int) -> Iterator[tuple[int, int, int]]:
        """Where the record may lie, and what the header before it says."""
        for step in range(min(TRIES, self._room)):
            start = (index + step) % self._room * (HEADER.size + self._size)
            yield start + HEADER.size, *HEADER.unpack_from(self._memory, start)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedRecords, self._arguments
