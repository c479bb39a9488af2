"""What a W&B run that was kept offline holds, read back record by record."""

import struct
from collections.abc import Iterator
from pathlib import Path


def records(path: Path) -> Iterator:
    """The records of a .wandb file: a LevelDB log with a header of its own, each payload a protocol buffer."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, offset, payload = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while offset + 7 <= len(data):
        left = 32768 - offset % 32768
        if left < 7:  # no header fits into the rest of a block
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        payload += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = Record()
            record.ParseFromString(payload)
            yield record
            payload = b""
