"""Samples of shards by position, what tells a set from another one, and what the reader makes of its settings."""

import io
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_copies_and_lists import listed, manifest, tar
from test_shards import jpeg, open_shards
from test_strange_shards import make, mask

from mae_hydra.data.dataset import Stored
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.labels.coding import Coding, coding_of
from mae_hydra.data.shards.cache import ShardCache
from mae_hydra.data.shards.files import Shard
from mae_hydra.data.shards.index import Endings
from mae_hydra.data.shards.order import ShardOrder
from mae_hydra.data.shards.reader import _set_of
from mae_hydra.data.shards.shard_set import LabelledShardsHere, ShardSet, ShardsHere
from mae_hydra.data.shards.write import index_shards
from mae_hydra.errors import UserError


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
    told = [record.getMessage() for record in caplog.records]
    assert [line for line in told if "x://" in line] == [
        f"no {place}" for place in asked
    ]  # other threads may speak, too


def test_of_open_shards_the_longest_unused_one_is_closed(two: list[Shard], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[ShardSet.__module__], "OPEN_SHARDS", 2)
    third = Shard(shutil.copy(two[0].place, f"{two[0].place}.c.tar"), 2, two[0].size)
    found = opened([*two, third])
    held = []
    for index in (0, 2, 0, 5, 2):
        found.stored(index)
        held.append(list(found._open))
    assert held == [[0], [0, 1], [1, 0], [0, 2], [2, 1]]


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
