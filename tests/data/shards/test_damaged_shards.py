"""Tar files and indexes with anything in them: every sample is the right one, or the shard is refused by name."""

import io
import json
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mae_hydra.data.shards.cache import ShardCache
from mae_hydra.data.shards.files import list_shards
from mae_hydra.data.shards.index import index_path, read_index
from mae_hydra.data.shards.shard_set import ShardSet
from mae_hydra.errors import UserError


def shard(folder: Path, count: int = 6, format: int = tarfile.GNU_FORMAT) -> Path:
    path = folder / "a.tar"
    with tarfile.open(path, "w", format=format) as archive:
        for number in range(count):
            for ending, content in ((".jpg", bytes([number]) * 700), (".cls", b"%d" % number)):
                member = tarfile.TarInfo(f"folder/{number:03d}{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def contents(folder: Path) -> list[tuple[bytes, int | None]]:
    listed = list_shards(str(folder), ShardCache(folder / "cache", 1), "a folder").splits["train"]
    found = ShardSet(listed, cache=ShardCache(folder / "cache", 1), channels=3, num_classes=6, window=4)
    return [(found.stored(number).encoded, found.stored(number).class_id) for number in range(len(found))]


def refusal(folder: Path) -> str:
    """The one line in which the shards are refused; "" where they are read."""
    try:
        contents(folder)
    except UserError as error:
        return str(error)
    return ""


def header(**changes: object) -> bytes:
    member = tarfile.TarInfo("x/1.jpg")
    for name, value in changes.items():
        setattr(member, name, value)
    return member.tobuf(tarfile.GNU_FORMAT)


def with_size(size: bytes, kind: bytes = b"0") -> bytes:
    """A header whose length field holds these bytes, its checksum right."""
    made = bytearray(header(type=kind))
    made[124:136] = size.ljust(12, b"\0")
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


HEADERS = {
    "a negative length": with_size(b"\xff" * 11 + b"\x00"),
    "a folder of negative length": with_size(b"\xff" * 11 + b"\x00", b"5"),
    "a length beyond all disks": with_size(b"\x80" + b"\xff" * 11),
    "no number for a length": with_size(b"zzz"),
    "a long name that never comes": with_size(b"77777777777\0", b"L"),
    "extended headers within extended headers": with_size(b"0\0", b"x") * 3000,
    "a sparse file": with_size(b"00000001000\0", b"S"),
    "a link": header(type=b"2", linkname="/etc/passwd"),
    "a device": header(type=b"4"),
}


@pytest.mark.parametrize("kind", list(HEADERS))
def test_an_odd_header_is_passed_over_or_the_shard_is_refused(tmp_path, kind):
    path = shard(tmp_path)
    expected = contents(tmp_path)
    assert [class_id for _, class_id in expected] == list(range(6))
    index_path(path).unlink()
    path.write_bytes(HEADERS[kind] + path.read_bytes())
    said = refusal(tmp_path)
    assert "\n" not in said
    assert "a.tar" in said if said else contents(tmp_path) == expected


@pytest.mark.parametrize("kind", ["pax", "gnu"])
def test_a_damaged_tar_is_read_or_refused_and_a_mended_one_read(tmp_path, kind):
    path = shard(tmp_path, format=tarfile.PAX_FORMAT if kind == "pax" else tarfile.GNU_FORMAT)
    whole, dice = path.read_bytes(), random.Random(kind)
    expected = contents(tmp_path)
    for _ in range(150):
        changed = bytearray(whole)
        block = 512 * dice.randrange(0, len(whole) // 512)
        for _ in range(dice.randrange(1, 4)):
            changed[block + dice.randrange(512)] = dice.randrange(256)
        path.write_bytes(changed[: dice.choice([len(changed), dice.randrange(1, len(changed))])])
        index_path(path).unlink(missing_ok=True)
        said = refusal(tmp_path)
        assert not said or ("a.tar" in said and "\n" not in said), said
    path.write_bytes(whole)
    index_path(path).unlink(missing_ok=True)
    assert contents(tmp_path) == expected


def stored(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_an_index_that_points_elsewhere_is_made_anew(tmp_path):
    path = shard(tmp_path)
    expected, index = contents(tmp_path), index_path(path)
    right = np.load(index)
    size = path.stat().st_size
    changes = [
        right.astype(np.float64), right[:1], right[:, :3], right.astype(object), right[0], right + 2**62, -right,
        np.where(right == size, size, right + 1_000_000), np.array([[size, 0, 0, 0], [0, 10, 0, 0]]),
        np.array([[size, 0, 0, 0], [512, size * 2, 0, 0]]), np.array([[size, 0, 0, 0], [512, 700, size, 1]]),
    ]  # fmt: skip
    dice = random.Random(0)
    content = index.read_bytes()
    pieces = [stored(changed) for changed in changes]
    pieces += [content[: dice.randrange(len(content))] for _ in range(10)]
    pieces += [content[:20] + bytes(dice.randrange(256) for _ in range(20)) + content[40:] for _ in range(30)]
    pieces += [b"", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x09\x00", content.replace(b"(7, 4)", b"(9**9**9, 4)")]
    for piece in pieces:
        index.write_bytes(piece)
        assert contents(tmp_path) == expected, piece[:80]
        assert np.array_equal(np.asarray(read_index(path)), right[1:])


@pytest.mark.parametrize(
    "row",
    [
        {"file": "../a.tar"}, {"file": "/etc/passwd"}, {"samples": 0}, {"samples": -6}, {"samples": 10**18},
        {"samples": "x"}, {"bytes": -1}, {"bytes": None}, {"file": None}, {"file": "b\n.tar"}, {"samples": 5},
        {"bytes": 10**18, "samples": 10**15},
    ],
    ids=str,
)  # fmt: skip
def test_a_list_of_shards_names_files_of_its_folder_and_as_many_samples_as_fit(tmp_path, row):
    path = shard(tmp_path)
    right = {"file": "a.tar", "samples": 6, "bytes": path.stat().st_size}
    (tmp_path / "shards.json").write_text(json.dumps({"format": 1, "splits": {"train": [right | row]}}))
    assert "a.tar" in refusal(tmp_path) or "shards.json" in refusal(tmp_path)


def test_a_list_of_shards_that_is_something_else_is_refused(tmp_path):
    shard(tmp_path)
    for text in (
        "[]",
        "{}",
        "[" * 100_000,
        '{"format": 1, "splits": 5}',
        '{"format": 1, "splits": {"train": [5]}}',
        "\0",
    ):
        (tmp_path / "shards.json").write_text(text)
        with pytest.raises(UserError, match=r"shards\.json"):
            contents(tmp_path)
