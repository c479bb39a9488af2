"""What W&B keeps of a run offline, record by record: a LevelDB log with a header of its own, of protocol buffers."""

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768  # bytes; no header of a piece crosses the end of one
WHOLE, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, as far as they are whole: a killed run ends in half of one."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    data, offset, payload = path.read_bytes(), 7, b""
    if data[:4] != b":W&B":
        return
    while offset + 7 <= len(data):
        left = BLOCK - offset % BLOCK
        if left < 7:  # no header fits into the rest of a block
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        piece = data[offset + 7 : offset + 7 + length]
        if len(piece) < length or kind not in range(WHOLE, LAST + 1):
            return
        payload += piece
        offset += 7 + length
        if kind in (WHOLE, LAST):
            record = Record()
            try:
                record.ParseFromString(payload)
            except DecodeError:
                return
            yield record
            payload = b""


def steps_in(paths: Iterable[Path]) -> set[float]:
    """The steps of which these files hold scalars."""
    steps: set[float] = set()
    for path in paths:
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                steps |= {json.loads(item.value_json) for item in record.history.item
                          if "step" in (item.key, *item.nested_key)}  # fmt: skip
    return steps
