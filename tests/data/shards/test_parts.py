"""The parts of shards one function at a time: lists, copies, indexes, orders, and what is written and made smaller."""

import errno
import io
import json
import logging
import os
import re
import shutil
import sys
import tarfile
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet, pixels, smooth_picture
from PIL import Image
from test_shards import jpeg, open_shards
from test_strange_shards import make, mask

from mae_hydra.data import decode_image
from mae_hydra.data.dataset import Stored
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.labels.coding import Coding, coding_of
from mae_hydra.data.shards import cache as shard_cache
from mae_hydra.data.shards import write as writing
from mae_hydra.data.shards.cache import ShardCache, Unreachable, fetch
from mae_hydra.data.shards.files import Shard, ShardList, expand, list_shards, split_of
from mae_hydra.data.shards.index import ANY, Endings, index_path, name_before, num_passed_over, read_index, scan
from mae_hydra.data.shards.maps import WithMaps
from mae_hydra.data.shards.order import ShardOrder
from mae_hydra.data.shards.reader import _set_of
from mae_hydra.data.shards.shard_set import LabelledShardsHere, ShardSet, ShardsHere
from mae_hydra.data.shards.shrink import Shrunk
from mae_hydra.data.shards.write import index_shards, write_shards
from mae_hydra.errors import UserError

# --- copies of what lies elsewhere


def test_copies_are_told_apart_by_their_whole_address_and_are_of_the_length_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, addresses = ShardCache(tmp_path / "cache", 10_000), {}
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.tar").write_bytes(folder.encode() * 1000)
        addresses[folder] = f"file://{tmp_path}/{folder}/a.tar"
    copies = [cache.local(address, 1000) for address in addresses.values()]
    assert [path.read_bytes()[:1] for path in copies] == [b"x", b"y"]
    assert all(re.fullmatch(r"[0-9a-f]{12}-a\.tar", path.name) for path in copies)
    copies[0].write_bytes(b"of another time")
    assert cache.local(addresses["x"]).read_bytes() == b"of another time"  # of what length is not known
    assert cache.local(addresses["x"], 1000).read_bytes() == b"x" * 1000
    (tmp_path / "x/a.tar").write_bytes(b"now")
    assert cache.local(addresses["x"], 1000).read_bytes() == b"x" * 1000
    assert cache.anew(addresses["x"]).read_bytes() == b"now"
    checked: list[tuple[Path, str]] = []
    monkeypatch.setattr(shard_cache.atomic, "check_writable", lambda *told: checked.append(told))
    cache.anew(addresses["y"])
    assert checked == [(cache.folder, "name another folder with data.cache")]
    (tmp_path / ("n" * 245)).touch()
    assert cache.local(f"file://{tmp_path}/{'n' * 245}").name.endswith("n" * 80)


def test_copies_fill_their_room_to_the_last_byte_and_no_more_than_is_needed_goes(tmp_path: Path) -> None:
    cache, kept = ShardCache(tmp_path / "cache", 3000), []
    for number, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
        copy = cache.local(f"file://{tmp_path}/{name}", 1000)
        os.utime(copy, (number, number))
        kept.append(sorted(path.name[-1] for path in cache.folder.glob("*-?")))
    assert kept == [["a"], ["a", "b"], ["a", "b", "c"], ["b", "c", "d"]]


@pytest.mark.parametrize(
    ("error", "tries", "said"),
    [
        (OSError("reset"), 4, "cannot get x://a: reset"), (ValueError(), 4, "cannot get x://a: ValueError"),
        *((urllib.error.HTTPError("", code, "no", {}, None), 1, f"{code}: no") for code in (401, 403, 404, 410)),  # type: ignore[arg-type]
        (urllib.error.HTTPError("", 503, "busy", {}, None), 4, "503: busy"),  # type: ignore[arg-type]
        *((OSError(code, "full"), 1, "full; make room there") for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)),
    ],
)  # fmt: skip
def test_a_fetch_is_tried_again_where_that_may_help_with_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int, said: str
) -> None:
    asked, pauses = [], []

    def fails(address: str) -> Any:
        asked.append(address)
        raise error

    monkeypatch.setattr(shard_cache, "opened", fails)
    monkeypatch.setattr(shard_cache.time, "sleep", pauses.append)
    with pytest.raises(UserError, match=said) as refused:
        fetch("x://a", tmp_path / "a", None)
    assert (len(asked), pauses) == (tries, [1.0, 2.0, 4.0][: tries - 1])
    assert isinstance(refused.value, Unreachable) == ("make room" not in said)


def test_what_comes_is_kept_only_in_the_length_that_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_cache.time, "sleep", lambda seconds: None)
    answers = iter([b"ab", b"abcd", b"abc"])
    monkeypatch.setattr(shard_cache, "opened", lambda address: io.BytesIO(next(answers)))
    fetch("x://a", tmp_path / "a", 3)
    assert (tmp_path / "a").read_bytes() == b"abc"


# --- which shards there are


def tar(path: Path, *names: str) -> Path:
    return make(path, {name: jpeg(number) if name.endswith("jpg") else b"1" for number, name in enumerate(names)})


def manifest(folder: Path, **changes: Any) -> Path:
    """A list of `train-0` (1 sample), `train-1` (2) and `val-0` (1)."""
    for name, samples in (("train-0", "1"), ("train-1", "12"), ("val-0", "1")):
        tar(folder / f"{name}.tar", *(f"{number}.jpg" for number in samples))
    index_shards(folder)
    path = folder / "shards.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def listed(root: Path | str, cache: Path, **told: Any) -> ShardList:
    return list_shards(str(root), ShardCache(cache, 1), "give shards", **told)


def names(found: ShardList) -> dict[str, list[tuple[str, int]]]:
    return {split: [(shard.name, shard.samples) for shard in shards] for split, shards in found.splits.items()}


def test_what_a_list_says_of_its_shards_holds_for_a_folder_and_for_a_pattern_of_them(tmp_path: Path) -> None:
    manifest(
        tmp_path / "s", classes=["a", "b"], image_suffix="jpg", map_ending="map.png", palette=[[1, 2, 3], [4, 5, 6]]
    )
    both = {"train": [("train-0.tar", 1), ("train-1.tar", 2)], "validation": [("val-0.tar", 1)]}
    told = ("a", "b"), Endings("jpg", "map.png"), ((1, 2, 3), (4, 5, 6))
    folder, pattern, part = (
        listed(f"{tmp_path}/s{form}", tmp_path) for form in ("", "/{train,val}-*.tar", "/train-{0..1}.tar")
    )
    assert [names(each) for each in (folder, pattern, part)] == [both, both, {"train": both["train"]}]
    assert [(each.classes, each.endings, each.palette) for each in (folder, pattern, part)] == [told] * 3
    assert listed(tmp_path / "s", tmp_path, endings=Endings("png")).endings == Endings("png", "map.png")
    assert listed(tmp_path / "s", tmp_path, endings=Endings(None, "seg.png")).endings == Endings("jpg", "seg.png")
    assert len(folder.all_shards()) == 3
    assert listed(f"{tmp_path}/s/val-0.tar", tmp_path).splits["train"][0].place == f"{tmp_path}/s/val-0.tar"


def test_a_shard_of_the_list_is_of_its_split_whatever_it_is_called(tmp_path: Path) -> None:
    path = manifest(tmp_path)
    content = json.loads(path.read_text())
    content["splits"] = {"train": content["splits"]["validation"], "validation": content["splits"]["train"]}
    path.write_text(json.dumps(content))
    tar(tmp_path / "test-9.tar", "1.jpg")  # which is not in it
    assert names(listed(f"{tmp_path}/*.tar", tmp_path)) == {
        "validation": [("train-0.tar", 1), ("train-1.tar", 2)], "train": [("val-0.tar", 1)],
        "test": [("test-9.tar", 1)],
    }  # fmt: skip
    assert [split_of(f"x-{word}-0.tar") for word in ("val", "valid", "validation", "dev", "test", "testing", "x")] == [
        *["validation"] * 4, *["test"] * 2, "train",
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["", "/{train,val}-*.tar"])
@pytest.mark.parametrize("change", [b"", b"more"])
def test_a_shard_of_another_length_than_the_list_says_is_refused(tmp_path: Path, form: str, change: bytes) -> None:
    manifest(tmp_path / "s")
    shard = tmp_path / "s/train-1.tar"
    shard.write_bytes(shard.read_bytes()[: None if change else -512] + change)
    with pytest.raises(UserError, match=r"1 of \d shards are .*cut short, .*train-1\.tar \(\d+ of \d+ bytes\)"):
        listed(f"{tmp_path}/s{form}", tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"format": 2}, "its format is 2, known is 1"), ({"format": 0}, "its format is 0"),
     ({"splits": {"train": [{"file": "train-0.tar", "samples": 30, "bytes": 10240}]}}, "cannot hold 30 samples"),
     ({"splits": {"train": [{"file": "../train-0.tar", "samples": 1, "bytes": 10240}]}}, "is not in that folder"),
     ({"splits": {"train": [{"file": "a/../../t.tar", "samples": 1, "bytes": 10240}]}}, "is not in that folder")],
)  # fmt: skip
def test_a_list_that_says_what_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    manifest(tmp_path, **change)
    with pytest.raises(UserError, match=said):
        listed(tmp_path, tmp_path)


def test_the_list_of_an_address_is_beside_its_shards_and_names_all_that_a_pattern_wants(tmp_path: Path) -> None:
    manifest(tmp_path / "s")
    address = f"file://{tmp_path}/s"
    assert names(listed(f"{address}/", tmp_path / "c")) == names(listed(tmp_path / "s", tmp_path))
    assert listed(f"{address}/", tmp_path / "c").splits["train"][0].place == f"{address}/train-0.tar"
    assert listed(address, tmp_path / "c").splits["train"][1].place == f"{address}/train-1.tar"
    assert names(listed(f"{address}/train-{{1..1}}.tar", tmp_path / "c")) == {"train": [("train-1.tar", 2)]}
    with pytest.raises(UserError, match=r"how many samples file:.*train-2\.tar holds is not known"):
        listed(f"{address}/train-{{1..2}}.tar", tmp_path / "c")


def test_patterns_name_shards_in_their_order_with_as_many_digits_as_the_first_number(tmp_path: Path) -> None:
    assert list(expand("{8..11}")) == ["8", "9", "10", "11"]
    assert list(expand("{098..100}x{a,b}")) == [f"{n}x{each}" for n in ("098", "099", "100") for each in "ab"]
    for name in "cab":
        tar(tmp_path / f"{name}.tar", "1.jpg")
    assert [name for name, _ in names(listed(f"{tmp_path}/*.tar", tmp_path))["train"]] == ["a.tar", "b.tar", "c.tar"]
    assert [name for name, _ in names(listed(f"{tmp_path}/{{c,a}}.tar", tmp_path))["train"]] == ["c.tar", "a.tar"]
    with pytest.raises(UserError, match=r"names .*a\.tar more than once"):
        listed(f"{tmp_path}/{{a,b,a}}.tar", tmp_path)
    with pytest.raises(UserError, match=r"no shard matches .*; give shards"):
        listed(f"{tmp_path}/x*.tar", tmp_path)


def test_what_is_passed_over_is_told_with_the_shard_in_which_it_is(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", "1.jpg")
    tar(tmp_path / "b.tar", "1.jpg", "1.x.jpg", "2.x.jpg")
    for form in ("", "/*.tar"):
        [note] = listed(f"{tmp_path}{form}", tmp_path).notes
        assert note.startswith("warning: 2 pictures in shards passed over, b.tar:1.x.jpg for one: ")


# --- where samples lie in a shard


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
    name = f"{'folder' * 15}/{'x' * 60}.jpg" if form == tarfile.USTAR_FORMAT else "a.jpg"
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


# --- orders


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


# --- sets of shards


@pytest.fixture
def two(tmp_path: Path) -> list[Shard]:
    """2 and 3 samples with class ids 0, 1 and 2, 3, 4, and a class map each."""
    found = []
    for name, numbers in (("a.tar", range(2)), ("b.tar", range(2, 5))):
        files: dict[str, bytes] = {}
        for number in numbers:
            files |= {f"{number}.jpg": jpeg(number), f"{number}.cls": b"%d\n" % number, f"{number}.m.png": mask(number)}
        path = make(tmp_path / name, files)
        found.append(Shard(str(path), len(numbers), path.stat().st_size))
    return found


def opened(shards: list[Shard], kind: Any = ShardsHere, **changes: Any) -> Any:
    own = {"cache": ShardCache(Path("nowhere"), 1), "channels": 3, "num_classes": 5, "window": 3}
    return kind(shards, **own | changes)


def coding(num_classes: int, **changes: Any) -> Coding:
    own: dict[str, Any] = {"names": None, "ignore_index": 255, "ignore_values": (), "reduce_zero_label": False,
                           "values": None, "colours": None}  # fmt: skip
    return coding_of(num_classes=num_classes, **own | changes)


def test_samples_are_those_of_one_shard_after_the_other(two: list[Shard]) -> None:
    found = opened(two)
    assert [found.name(n) for n in range(5)] == ["a.tar:0", "a.tar:1", "b.tar:0", "b.tar:1", "b.tar:2"]
    assert [found.stored(n) for n in (0, 3, -1)] == [
        Stored("a.tar:0.jpg", jpeg(0), 0), Stored("b.tar:3.jpg", jpeg(3), 3), Stored("b.tar:4.jpg", jpeg(4), 4),
    ]  # fmt: skip
    assert found.sample_of_images() == [0, 1, 2, 3, 4]
    assert found.sample_of_images(1, 2) == [0, 1]
    assert opened(two, num_classes=0).stored(3).class_id is None
    assert opened(two, endings=Endings("jpg", "m.png")).stored(3) == Stored("b.tar:3.jpg", jpeg(3), None)
    opened(two, endings=Endings("jpg", "m.png")).check_classes()  # of which there are none
    assert opened([Shard("http://x/a.tar", 2, 9), *two]).sample_of_images() == []
    with pytest.raises(IndexError):
        found.stored(5)


def test_a_class_id_is_a_number_below_that_of_the_classes(tmp_path: Path, two: list[Shard]) -> None:
    opened(two).check_classes()
    with pytest.raises(UserError, match=r"the class of b\.tar:4\.jpg is '4'; class ids are 0\.\.3"):
        opened(two, num_classes=4).check_classes()
    for text in (b"-1", b"cat", b"5", b"1.0"):
        path = make(tmp_path / "c.tar", {"1.jpg": jpeg(1), "1.cls": text})
        with pytest.raises(UserError, match=rf"the class of c\.tar:1\.jpg is '{text.decode()}'; class ids are 0\.\.4"):
            opened([Shard(str(path), 1, path.stat().st_size)]).stored(0)


def test_what_tells_a_set_of_shards_changes_with_all_that_it_is_made_of(two: list[Shard]) -> None:
    def ranged() -> Any:
        found = opened(two)
        found.pixel_range = PixelRange((0,), (9,))
        return found

    longer = [two[0], Shard(two[1].place, 3, two[1].size + 1)]
    assert len({opened(each).listing() for each in (two, two[:1], longer, two[::-1])}) == 4
    sets = opened(two), ranged(), opened(two, endings=Endings("jpg")), opened(two[:1])
    digests = [each.digest() for each in sets]
    assert len(set(digests)) == 4
    before = [opened(two).stamp(0), opened(two).stamp(4), opened(two).contents(), digests[0]]
    assert len({opened(two).stamp(number) for number in range(5)}) == 5
    os.utime(two[1].place, ns=(1, 10**9))
    again = [opened(two).stamp(0), opened(two).stamp(4), opened(two).contents(), opened(two).digest()]
    assert [a == b for a, b in zip(before, again, strict=True)] == [True, False, True, False]
    with open(two[1].place, "ab") as file:
        file.write(b"more")
    assert opened(two).contents() != before[2]
    assert opened([Shard("http://x/a.tar", 2, 9)]).stamp(1) == "http://x/a.tar 9 1"


def test_class_maps_beside_images_are_read_by_their_coding_which_is_a_part_of_the_digest(two: list[Shard]) -> None:
    def labelled(**changes: Any) -> Any:
        found = opened(two, LabelledShardsHere, endings=Endings("jpg", "m.png"))
        found.coding = coding(5, **changes)
        return found

    assert [labelled()[n].label.unique().tolist() for n in range(5)] == [[n] for n in range(5)]
    assert labelled(reduce_zero_label=True)[4].label.unique().tolist() == [3]
    digests = [labelled(**each).digest() for each in ({}, {"reduce_zero_label": True}, {"values": {0: 4, 1: 3}})]
    assert len({*digests, opened(two, endings=Endings("jpg", "m.png")).digest()}) == 4


def test_a_range_holds_for_pictures_beside_maps_and_alone_decoded_now_or_later(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 14), 500, np.uint16)).save(file := io.BytesIO(), "PNG")
    path = make(tmp_path / "a.tar", {"1.png": file.getvalue(), "1.m.png": mask(3)})
    shards = [Shard(str(path), 1, path.stat().st_size)]
    alone = opened(shards, channels=1, num_classes=0)
    beside = opened(shards, LabelledShardsHere, channels=1, endings=Endings("png", "m.png"))
    beside.coding = coding(beside._num_classes)
    for found in (alone, beside):
        found.pixel_range = PixelRange((0,), (1000,))
        assert found[0].image.unique().tolist() == [128]
    assert alone.undecoded(0).image.unique().tolist() == [128]
    assert (alone.header(0).mode, beside.header(0).mode) == ("I;16", "L")
    assert beside[0].label.unique().tolist() == [3]


def test_an_order_of_shards_has_the_seed_and_window_of_its_set_and_fetches_ahead(two: list[Shard]) -> None:
    elsewhere = [Shard(f"x://{n}.tar", 6, 9) for n in range(4)]
    found = opened(elsewhere, ShardSet, window=6)
    asked: list[str] = []
    found._cache = SimpleNamespace(local=lambda place, size: asked.append(place) or 1 / 0)
    order, expected = found.order(5, 2), ShardOrder([6] * 4, seed=5, global_batch=2, window=6)
    assert [order(0, n) for n in range(24)] == [expected(0, n) for n in range(24)]
    with_two = opened(two).order(1, 1)
    assert [with_two(0, n) for n in range(5)] == [ShardOrder([2, 3], seed=1, global_batch=1, window=3)(0, n)
                                                  for n in range(5)]  # fmt: skip


def test_every_shard_to_come_is_fetched_though_one_of_them_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Done(BaseException):
        """Ends the thread."""

    class Coming(list[Shard]):
        put = list.append

        def get(self) -> Shard:
            if not self:
                raise Done
            return self.pop(0)

    asked: list[str] = []

    def local(place: str, size: int) -> None:
        asked.append(place)
        raise UserError(f"no {place}")

    found = opened([Shard(f"x://{n}.tar", 6, 9) for n in range(3)], ShardSet)
    found._cache, found._coming = SimpleNamespace(local=local), Coming()
    found._fetch([0, 2, 1])
    with caplog.at_level(logging.WARNING, "mae_hydra"), pytest.raises(Done):
        found._keep_fetching(found._coming)
    assert asked == ["x://0.tar", "x://2.tar", "x://1.tar"]
    assert [record.getMessage() for record in caplog.records] == [f"no {place}" for place in asked]


def test_of_open_shards_the_longest_unused_one_is_closed(two: list[Shard], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[ShardSet.__module__], "OPEN_SHARDS", 2)
    third = Shard(shutil.copy(two[0].place, f"{two[0].place}.c.tar"), 2, two[0].size)
    found = opened([*two, third])
    held = []
    for index in (0, 2, 0, 5, 2):
        found.stored(index)
        held.append(list(found._open))
    assert held == [[0], [0, 1], [1, 0], [0, 2], [2, 1]]


# --- what is made smaller, and what is written


class Kept(ListSet):
    """Pictures in memory, as a set of files gives them; `name.kind`, with a class map of their own value."""

    def __init__(self, *files: tuple[str, bytes, int | None]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def stored(self, index: int) -> Stored:
        return Stored(*self.files[index])

    def labels(self, index: int) -> torch.Tensor:
        return torch.full((10, 14), index, dtype=torch.uint8)


def test_the_shorter_side_is_reduced_and_the_other_rounded() -> None:
    def sizes(height: int, width: int, short: int) -> tuple[int, int]:
        return Shrunk(Kept(), short, 3, decoded=False)._size(torch.zeros(3, height, width))

    assert [sizes(*each) for each in ((10, 14, 4), (14, 10, 5), (10, 15, 6), (10, 11, 4), (5, 9, 5), (4, 9, 5))] == [
        (4, 6), (7, 5), (6, 9), (4, 4), (5, 9), (4, 9),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="must be at least 1 pixel, got 0"):
        Shrunk(Kept(), 0, 3, decoded=False)


def test_smaller_pictures_are_jpegs_of_full_color_resolution_or_the_pixels_themselves() -> None:
    picture = smooth_picture(20, 28)
    whole = Kept(("a/b.c.png", (lambda f: (picture.save(f, "PNG"), f.getvalue())[1])(io.BytesIO()), 3))
    name, encoded, class_id = Shrunk(whole, 20, 3, decoded=False).stored(0)
    assert (name, class_id) == ("a/b.c.jpg", 3)
    with Image.open(io.BytesIO(encoded)) as found:
        assert found.layer[0][1:3] == found.layer[1][1:3]  # type: ignore[attr-defined]  # sampled as often as light
        assert found.quantization[0][0] == 2  # of quality 95
    assert (decode_image(encoded, 3, "").int() - pixels(picture).int()).abs().max() < 30
    name, encoded, _ = Shrunk(whole, 20, 3, decoded=True).stored(0)
    assert name == "a/b.c.npy"
    assert np.array_equal(np.load(io.BytesIO(encoded)), np.asarray(picture))
    grey = Shrunk(whole, 5, 1, decoded=False).stored(0).encoded
    with Image.open(io.BytesIO(grey)) as found:
        assert (found.mode, found.size) == ("L", (7, 5))
    Image.fromarray(np.full((3, 4), 500, np.uint16)).save(file := io.BytesIO(), "PNG")
    deep = Shrunk(Kept(("d.png", file.getvalue(), None)), 9, 1, decoded=True, pixel_range=PixelRange((0,), (1000,)))
    assert np.unique(np.load(io.BytesIO(deep.stored(0).encoded))).tolist() == [128]


def test_what_is_ignored_in_a_map_is_255_in_its_png_and_colors_are_those_of_the_classes() -> None:
    palette = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)

    class Mapped(Kept):
        def labels(self, index: int) -> torch.Tensor:
            return torch.tensor([[0, 1], [2, 9]], dtype=torch.uint8)

    with Image.open(io.BytesIO(WithMaps(Mapped(), 9, palette).encoded_map(0))) as found:
        assert (found.mode, np.asarray(found).tolist()) == ("P", [[0, 1], [2, 255]])
        assert np.asarray(found.convert("RGB"))[:, 0].tolist() == [[10, 20, 30], [70, 80, 90]]
    for classes, mode in ((255, "P"), (256, "I;16")):
        many = WithMaps(Mapped(), 9, np.zeros((classes, 3), np.uint8))
        with Image.open(io.BytesIO(many.encoded_map(0))) as found:
            assert found.mode == mode


def members(root: Path) -> dict[str, bytes]:
    """Files of all shards by name, without the number before."""
    found = {}
    for path in sorted(root.glob("*.tar")):
        with tarfile.open(path) as archive:
            found |= {each.name[7:]: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
    return found


def test_samples_are_written_with_readable_names_their_class_and_one_ending_in_small_letters(tmp_path: Path) -> None:
    long = "x" * 80
    sets = {"train": Kept(("a/b c.JPG", b"0", 0), (f"{long}yz.png", b"1", 7), ("ü.v1.PNG", b"2", None)),
            "validation": Kept(("d.jpg", b"3", 1))}  # fmt: skip
    done: list[int] = []
    total = write_shards(sets, tmp_path / "s", classes=["u", "v"], samples_per_shard=2, num_workers=0, done=done.append)
    assert members(tmp_path / "s") == {
        "a_b_c.jpg": b"0", "a_b_c.cls": b"0", f"{long[:68]}yz.png": b"1", f"{long[:68]}yz.cls": b"7",
        "__v1.png": b"2", "d.jpg": b"3", "d.cls": b"1",
    }  # fmt: skip
    content = json.loads((tmp_path / "s/shards.json").read_text())
    rows = {split: [(row["file"], row["samples"]) for row in of_split] for split, of_split in content["splits"].items()}
    assert rows == {"train": [("train-000000.tar", 2), ("train-000001.tar", 1)],
                    "validation": [("validation-000000.tar", 1)]}  # fmt: skip
    assert (content["classes"], content["image_suffix"], content["map_ending"], content["palette"]) == (
        ["u", "v"], None, None, None,
    )  # fmt: skip
    assert (done, total) == ([2, 1, 1], sum(path.stat().st_size for path in (tmp_path / "s").glob("*.tar")))
    assert sorted(path.name for path in (tmp_path / "s").iterdir() if path.suffix not in (".tar", ".npy")) == [
        "shards.json"
    ]


def kept(count: int, size: int = 100, name: str = "p") -> Kept:
    return Kept(*((f"{name}{number}.jpg", bytes(size), None) for number in range(count)))


def begun(root: Path, of: Kept, per_shard: int = 2, **told: Any) -> list[int]:
    done: list[int] = []
    write_shards(
        {"train": of}, root, classes=None, samples_per_shard=per_shard, num_workers=0, done=done.append, **told
    )
    return done


def test_writing_goes_on_only_with_the_same_samples_and_only_what_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, write = tmp_path / "s", writing._write

    def stop(task: Any, of_split: Any) -> int:
        if task.path.name == "train-000002.tar":
            raise KeyboardInterrupt
        return write(task, of_split)

    monkeypatch.setattr(writing, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        begun(root, kept(6))
    monkeypatch.setattr(writing, "_write", write)
    for other in (kept(6, 101), kept(6, name="q"), kept(7)):
        with pytest.raises(UserError, match="holds the shards of another set, or others of this one"):
            begun(root, other)
    with pytest.raises(UserError, match="others of this one"):
        begun(root, kept(6), 3)
    wrote: list[str] = []
    monkeypatch.setattr(writing, "_write", lambda task, of: wrote.append(task.path.name) or write(task, of))
    shutil.copy(root / "train-000000.tar", tmp_path / "one")
    make(root / "train-000000.tar", {"000000-p1.jpg": b"x"})  # of too few samples
    (root / "train-000001.tar.index.npy").unlink()  # killed before it was there
    assert begun(root, kept(6)) == [2, 2, 2]
    assert wrote == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    assert (root / "train-000000.tar").read_bytes() == (tmp_path / "one").read_bytes()


def test_a_set_is_another_one_by_any_sample_that_is_looked_at_or_by_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, more = ((f"{name}.jpg", bytes(9), None) for name in "abc")
    writing._begin(tmp_path / "s", {"train": Kept(one, other, more)}, 2)
    writing._begin(tmp_path / "s", {"train": Kept(one, other, more)}, 2)
    for wrong in ((one, other, one), (other, other, more), (one, one, more)):
        with pytest.raises(UserError, match="others of this one"):
            writing._begin(tmp_path / "s", {"train": Kept(*wrong)}, 2)
    monkeypatch.setattr(writing, "PROBES", 2)
    writing._begin(tmp_path / "t", {"train": Kept(one, other, more)}, 2)
    with pytest.raises(UserError, match="others of this one"):
        writing._begin(tmp_path / "t", {"train": Kept(one, other, other, more)}, 2)


def test_room_is_wanted_for_what_is_missing_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(samples: int) -> None:
        raise KeyboardInterrupt

    how: dict[str, Any] = {"classes": None, "samples_per_shard": 2, "num_workers": 0}
    with pytest.raises(KeyboardInterrupt):
        write_shards({"train": kept(4)}, tmp_path / "s", done=stop, **how)
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda root: SimpleNamespace(free=2 * (100 + 1536)))
    assert begun(tmp_path / "s", kept(4)) == [2, 2]


def test_maps_are_told_only_where_every_split_has_them(tmp_path: Path) -> None:
    palette = np.zeros((3, 3), np.uint8)
    mapped = WithMaps(kept(2), 255, palette)
    for name, splits, ending in (("one", (mapped, kept(1)), None), ("both", (mapped, mapped), "map.png")):
        sets: Any = dict(zip(("train", "validation"), splits, strict=True))
        write_shards(sets, tmp_path / name, classes=None, samples_per_shard=2, num_workers=0)
        assert json.loads((tmp_path / name / "shards.json").read_text())["map_ending"] == ending


def test_splits_are_dealt_out_apart_and_in_no_order_of_theirs(tmp_path: Path) -> None:
    tasks = [writing._deal(tmp_path, split, 50, 50, ANY)[0].samples.tolist() for split in ("train", "validation")]
    assert [sorted(each) for each in tasks] == [list(range(50))] * 2
    assert tasks[0] != tasks[1]
    assert tasks[0] != list(range(50))


def test_shards_are_written_only_where_there_is_room_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 6 * (700 / 2 + 1536)  # samples of 100 and of 600 bytes, in turn
    some = Kept(*((f"{n}.jpg", bytes(600 if n % 2 else 100), None) for n in range(6)))
    for free, fits in ((needed - 1, False), (needed, True)):
        monkeypatch.setattr(writing.shutil, "disk_usage", lambda root, free=free: SimpleNamespace(free=free))
        if fits:
            assert begun(tmp_path / "s", some) == [2, 2, 2]
        else:
            with pytest.raises(UserError, match=r"the shards take about 0\.0 GB"):
                begun(tmp_path / "s", some)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="it is a file; name a folder"):
        begun(tmp_path / "file", kept(2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        begun(tmp_path / "full", kept(2))


@pytest.mark.parametrize(("text", "fine"), [("{", False), ('{"format": 1}', False), ("[1]", False),
                                           ('{"format": 1, "splits": {}}', True)])  # fmt: skip
def test_a_file_that_is_no_list_of_shards_stays_where_it_is(tmp_path: Path, text: str, fine: bool) -> None:
    tar(tmp_path / "a.tar", "1.jpg", "2.jpg")
    tar(tmp_path / "val.tar", "1.x.jpg", "1.jpg", "2.x.jpg")
    (tmp_path / "shards.json").write_text(text)
    said: list[str] = []
    done: list[int] = []
    if fine:
        assert index_shards(tmp_path, done.append, say=said.append) == {"train": 2, "validation": 1}
        assert (done, "2 pictures in shards passed over, val.tar:1.x.jpg for one" in said[0]) == ([2, 1], True)
    else:
        with pytest.raises(UserError, match="is there and lists no shards; move it away"):
            index_shards(tmp_path)
        assert (tmp_path / "shards.json").read_text() == text


# --- what the reader makes of it


def test_held_out_shards_are_the_same_ones_wherever_the_set_lies(tmp_path: Path) -> None:
    for place in ("here", "there/deep"):
        for number in range(8):
            tar(tmp_path / place / f"{number}.tar", *(f"{number}-{sample}.jpg" for sample in range(1 + number % 2)))
    sides = [
        [sorted({side.name(n).split(":")[0] for n in range(len(side))}) for side in (data.train, data.validation)]
        for data in (open_shards(tmp_path / place, validation_fraction=0.25) for place in ("here", "there/deep"))
    ]
    assert sides[0] == sides[1]
    assert [len(side) for side in sides[0]] == [6, 2]
    assert open_shards(tmp_path / "here", validation_fraction=0.5).notes == ()


def test_the_names_of_classes_that_are_told_go_before_those_of_the_list(tmp_path: Path) -> None:
    manifest(tmp_path, classes=["a", "b"])
    assert open_shards(tmp_path, num_classes=2).class_names == ("a", "b")
    assert open_shards(tmp_path, num_classes=2, classes=["u", "v"]).class_names == ("u", "v")
    assert open_shards(tmp_path).class_names == ()


def test_settings_reach_the_sets_of_both_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for split, value in (("train", 1000), ("val", 500)):
        Image.fromarray(np.array([[0, value]], np.uint16)).save(file := io.BytesIO(), "PNG")
        make(tmp_path / f"s/{split}.tar", {f"{n}.PNG": file.getvalue() for n in range(2)})
    grey: dict[str, Any] = {"channels": 1, "mean": [0.5], "std": [0.2]}
    data = open_shards("~/s", window=5, cache="~/copies", cache_gb=0.5, validation="~/s/val.tar", **grey)
    train: Any = data.train
    validation: Any = data.validation
    assert train.pixel_range == validation.pixel_range == data.pixel_range
    assert [int(each[0].image.max()) for each in (train, validation)] == [255, 128]
    assert any("1000" in note for note in data.notes)
    assert (train._window, train._cache.most_bytes) == (5, 500_000_000)
    assert train._cache.folder.parent == tmp_path / "copies"
    assert open_shards("~/s", bits=16, **grey).train[0].image.int().max() == 65535
    with pytest.raises(ValueError, match=r"data\.cache_gb must be positive, got 0"):
        open_shards("~/s", cache_gb=0, **grey)


def test_validation_shards_that_are_told_or_listed_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("train-0", "train-1", "val-0", "test-0"):
        tar(tmp_path / f"s/{name}.tar", f"{name}.jpg")
    (tmp_path / "link.tar").symlink_to(tmp_path / "s/train-1.tar")

    def sides(root: str, **told: Any) -> list[list[str]]:
        data = open_shards(tmp_path / root, **told)
        return [[side[n].name.split(":")[0] for n in range(len(side))] for side in (data.train, data.validation)]

    assert sides("s") == [["train-0.tar", "train-1.tar"], ["val-0.tar"]]
    assert sides("s", validation=str(tmp_path / "s")) == [["train-0.tar", "train-1.tar"], ["val-0.tar"]]
    assert sides("s", validation=str(tmp_path / "link.tar")) == [["train-0.tar"], ["link.tar"]]
    assert sides("s/{val,test}-0.tar", validation=f"{tmp_path}/s/train-*.tar")[1] == ["train-0.tar", "train-1.tar"]
    (tmp_path / "s/val-0.tar").unlink()
    left = sides("s", validation_fraction=0.5)
    assert sorted(left[0] + left[1]) == ["train-0.tar", "train-1.tar"]  # and not that for tests


def test_one_shard_elsewhere_makes_a_set_of_which_nothing_is_fetched_to_look_ahead(tmp_path: Path) -> None:
    shards = manifest(tmp_path / "s") and listed(tmp_path / "s", tmp_path).splits["train"]
    own: dict[str, Any] = {"cache": None, "channels": 3, "num_classes": 0, "window": 1}
    kinds = [type(_set_of(those, None, **own)) for those in (shards, [*shards, Shard("x://a.tar", 1, 9)])]
    assert kinds == [ShardsHere, ShardSet]


def test_what_a_list_says_of_classes_and_colors_holds_for_maps_whose_names_are_not_told(tmp_path: Path) -> None:
    files = {"1.jpg": jpeg(1), "1.map.png": mask(1), "2.jpg": jpeg(2), "2.map.png": mask(0)}
    for split in ("train", "val"):
        make(tmp_path / f"{split}.tar", files)
    index_shards(tmp_path, endings=Endings("jpg", "map.png"))
    path = tmp_path / "shards.json"
    content = json.loads(path.read_text()) | {"classes": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]}
    path.write_text(json.dumps(content))
    data = open_shards(tmp_path, num_classes=2)
    assert (data.class_names, data.palette.tolist(), data.target) == (("a", "b"), [[1, 2, 3], [4, 5, 6]], "map")
    upper = open_shards(tmp_path, num_classes=2, image_suffix=".JPG", map_ending="MAP.png")
    assert [upper.train[n].label.unique().tolist() for n in range(2)] == [[1], [0]]  # type: ignore[union-attr]
