"""Which shards there are, by lists, patterns and folders, and copies of those that lie elsewhere."""

import errno
import io
import json
import os
import re
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from test_shards import jpeg
from test_strange_shards import make

from mae_hydra.data.shards import cache as shard_cache
from mae_hydra.data.shards.cache import ShardCache, Unreachable, fetch
from mae_hydra.data.shards.files import ShardList, expand, list_shards, split_of
from mae_hydra.data.shards.index import Endings
from mae_hydra.data.shards.write import index_shards
from mae_hydra.errors import UserError


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
