"""Where samples lie in a shard, and in which order an epoch visits them."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_shards import jpeg
from test_strange_shards import make, mask

from mae_hydra.data.shards.index import ANY, Endings, index_path, name_before, num_passed_over, read_index, scan
from mae_hydra.data.shards.order import ShardOrder


def test_a_sample_is_found_whatever_comes_first_and_wherever_it_lies(tmp_path: Path) -> None:
    files = {"a/1.cls": b"3", "a/1.jpg": jpeg(1), "b/1.jpg": jpeg(2), "b/1.cls": b"4", "2.npy": b"n", "2.jpg": jpeg(3),
             "3.npy": b"pixels", "4.seg.png": mask(1), "4.jpg": jpeg(4)}  # fmt: skip
    shard = make(tmp_path / "a.tar", files)
    whole = shard.read_bytes()

    def parts(endings: Endings = ANY) -> list[tuple[bytes, bytes]]:
        rows = [[int(each) for each in row] for row in read_index(shard, endings)]
        return [(whole[a : a + b], whole[c : c + d]) for a, b, c, d in rows]

    assert parts() == [(jpeg(1), b"3"), (jpeg(2), b"4"), (jpeg(3), b""), (b"pixels", b""), (jpeg(4), b"")]
    assert parts(Endings("jpg", "seg.png")) == [(jpeg(1), b""), (jpeg(2), b""), (jpeg(3), b""), (jpeg(4), mask(1))]
    assert (num_passed_over(shard), num_passed_over(shard, Endings("jpg", "seg.png"))) == (1, 0)
    assert index_path(shard, Endings("jpg", "seg.png")).name == "a.tar.jpg.seg.png.index.npy"
    assert index_path(shard, Endings(None, "seg.png")).name == "a.tar.seg.png.index.npy"
    descriptor = os.open(shard, os.O_RDONLY)
    found = [name_before(descriptor, int(row[0])) for row in scan(shard).rows]
    os.close(descriptor)
    assert found == ["a/1.jpg", "b/1.jpg", "2.jpg", "3.npy", "4.jpg"]
    index_path(shard).unlink()
    index_path(shard).mkdir()  # where none can be written
    assert (num_passed_over(shard), len(parts())) == (1, 5)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_a_name_is_read_from_either_form_of_header(tmp_path: Path, form: int) -> None:
    name = f"{'folder' * 15}/{'x' * 96}.jpg" if form == tarfile.USTAR_FORMAT else "a.jpg"
    path = make(tmp_path / "a.tar", {name: jpeg(1)}, format=form)
    block = bytearray(path.read_bytes())
    if form == tarfile.GNU_FORMAT:
        block[345:360] = b"times of access"  # which the older form keeps there
        path.write_bytes(block)
    descriptor = os.open(path, os.O_RDONLY)
    assert name_before(descriptor, 512) == name
    os.close(descriptor)


def test_an_index_that_is_older_than_its_shard_or_of_another_form_is_made_anew(tmp_path: Path) -> None:
    shard = make(tmp_path / "a.tar", {"1.jpg": jpeg(1), "2.jpg": jpeg(2)})
    right = np.array(read_index(shard))
    beside = index_path(shard)
    good = np.load(beside)
    for change in ((0, 1, 1), (0, 0, 512), (1, 1, 0), (1, 0, 511), (2, 1, 2 * shard.stat().st_size), (1, 3, 5)):
        row, column, value = change
        wrong = good.copy()
        wrong[row, column] = value
        np.save(beside, wrong)
        assert np.array_equal(read_index(shard), right), change
        assert np.array_equal(np.load(beside), good), change
    other = good.copy()
    other[1, 0], other[2, 0] = good[2, 0], good[1, 0]
    np.save(beside, other)
    os.utime(beside, ns=(0, shard.stat().st_mtime_ns))
    assert np.array_equal(read_index(shard), other[1:])  # as new as the shard: believed
    os.utime(beside, ns=(0, shard.stat().st_mtime_ns - 1))
    assert np.array_equal(read_index(shard), right)


def test_lanes_are_a_part_of_the_batch_and_no_more_than_there_are_shards() -> None:
    lanes = [
        ShardOrder([50] * shards, seed=0, global_batch=batch, window=5, **told).lanes
        for shards, batch, told in ((100, 128, {}), (100, 96, {}), (5, 8, {}), (4, 8, {}), (3, 8, {}), (1, 8, {}),
                                    (100, 64, {"most_lanes": 4}), (1, 64, {}))
    ]  # fmt: skip
    assert lanes == [64, 32, 4, 4, 2, 1, 4, 1]


def test_the_line_of_shards_and_the_shuffle_of_windows_follow_from_the_seed() -> None:
    def order(seed: int, window: int) -> list[int]:
        found = ShardOrder([4] * 12, seed=seed, global_batch=1, window=window)
        return [found(0, place) for place in range(48)]

    lines = [[each // 4 for each in order(seed, 4)[::4]] for seed in range(3)]
    assert len({tuple(line) for line in lines}) == 3
    assert all(sorted(line) == list(range(12)) for line in lines)
    assert order(0, 1) == [4 * shard + place for shard in lines[0] for place in range(4)]
    shuffles = [tuple(each % 4 for each in order(seed, 4)) for seed in range(3)]
    assert len(set(shuffles)) == 3


def test_the_shards_that_a_lane_is_about_to_enter_are_told_a_window_ahead() -> None:
    told: list[list[int]] = []
    sizes = [4, 6, 2, 8]
    order = ShardOrder(sizes, seed=1, global_batch=1, window=5, ahead=lambda shards: told.append(list(shards)))
    visited = [order(0, place) for place in range(20)]
    of_shard = np.repeat(range(4), sizes)
    line = ShardOrder(sizes, seed=1, global_batch=1, window=1)
    shards = [int(of_shard[line(0, place)]) for place in range(20)]
    assert sorted(visited) == list(range(20))
    assert told == [list(dict.fromkeys(shards[begin : begin + 5])) for begin in (5, 10, 15)]
