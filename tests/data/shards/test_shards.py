"""Photos in tar files: where they lie, in which order they come, and shards that are elsewhere or broken."""

import errno
import gc
import io
import json
import os
import pickle
import shutil
import signal
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations, islice
from pathlib import Path
from typing import Any, ClassVar

import forked
import numpy as np
import pytest
import torch
from pictures import save, smooth_picture
from test_train_stream import CROP

from mae_hydra import atomic
from mae_hydra.data import ImageData, TrainStream, decode_image, imagenet, shards
from mae_hydra.data.augment import crops
from mae_hydra.data.loading.look_ahead import Seen, look_ahead, some_headers
from mae_hydra.data.shards import cache as shard_cache
from mae_hydra.data.shards.cache import ShardCache
from mae_hydra.data.shards.files import Shard, expand
from mae_hydra.data.shards.index import index_path, read_index, scan
from mae_hydra.data.shards.order import ShardOrder
from mae_hydra.data.shards.reader import _apart
from mae_hydra.data.shards.shard_set import ShardSet
from mae_hydra.data.shards.shrink import Shrunk
from mae_hydra.data.shards.write import index_shards, write_shards
from mae_hydra.errors import UserError

COMMON: dict[str, Any] = {
    "image_size": 8,
    "channels": 3,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.2],
    "ignore_index": 255,
    "batch_size": 4,
    "num_workers": 0,
    "train_limit": None,
}
PER_SHARD = 6


def open_shards(root: Path | str, **changes: Any) -> ImageData:
    own = {"validation": None, "validation_fraction": 0.2, "window": 8, "cache": "cache", "cache_gb": 1.0}
    return shards(**COMMON | own | {"root": str(root), "num_classes": 0} | changes)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """30 training and 5 validation photos of two classes."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(35):
        split = "train" if number < 30 else "val"
        save(smooth_picture(10, 14, seed=number), root / split / "ab"[number % 2] / f"{number:02d}.v1.jpg")
    return imagenet(**COMMON | {"root": str(root), "num_classes": 2})


def write(photos: ImageData, root: Path, **changes: Any) -> int:
    sets: Any = {"train": photos.train, "validation": photos.validation}
    how = {"classes": photos.class_names, "samples_per_shard": PER_SHARD, "num_workers": 0}
    return write_shards(sets, root, **how | changes)


@pytest.fixture
def written(photos: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(photos, tmp_path / "shards")
    return tmp_path / "shards"


def contents(data: ImageData) -> list[tuple[bytes, Any]]:
    """Pixels and label of every sample, in an order that does not depend on names."""
    sets = (data.train, data.validation)
    return sorted((s[i].image.numpy().tobytes(), s[i].label) for s in sets for i in range(len(s)))


def test_shards_hold_the_files_as_they_were(photos: ImageData, written: Path) -> None:
    data = open_shards(written, num_classes=2)
    assert (len(data.train), len(data.validation), data.class_names) == (30, 5, ("a", "b"))
    assert contents(data) == contents(photos)
    originals = {photos.train.stored(i).encoded for i in range(30)}  # type: ignore[attr-defined]
    assert {data.train.stored(i).encoded for i in range(30)} == originals  # type: ignore[attr-defined]
    assert open_shards(written).train[0].label is None
    assert "train-000000.tar:000000-" in data.train[0].name


@pytest.mark.slow
@pytest.mark.parametrize("decoded", [False, True])
def test_shrunk_shards_hold_smaller_images(
    photos: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: bool
) -> None:
    forked.children(monkeypatch)
    root = tmp_path / "small"
    splits: Any = {"train": photos.train, "validation": photos.validation}
    sets: Any = {name: Shrunk(of_split, 5, 3, decoded=decoded) for name, of_split in splits.items()}
    write_shards(sets, root, classes=photos.class_names, samples_per_shard=PER_SHARD, num_workers=2)
    small = open_shards(root, num_classes=2)
    assert (len(small.train), len(small.validation)) == (30, 5)
    originals = {Path(photos.train[i].name).stem: photos.train[i] for i in range(30)}
    for index in range(30):
        sample = small.train[index]
        original = next(found for stem, found in originals.items() if stem.replace(".", "_") in sample.name)
        assert sample.name.endswith(".npy" if decoded else ".jpg")
        assert sample.image.shape == (3, 5, 7)
        assert sample.label == original.label
        difference = (sample.image.int() - crops.resize_bicubic(original.image, (5, 7)).int()).abs()
        assert difference.max() <= (0 if decoded else 40)


def test_an_image_is_never_enlarged(photos: ImageData) -> None:
    stored = Shrunk(photos.train, 100, 3, decoded=True).stored(0)  # type: ignore[arg-type]
    assert torch.equal(decode_image(stored.encoded, 3, ""), photos.train[0].image)


def test_pixels_of_another_kind_are_refused(photos: ImageData) -> None:
    stored = Shrunk(photos.train, 5, 3, decoded=True).stored(0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"cannot read the image a: its pixels are uint8 .*wanted are .*width, 1"):
        decode_image(stored.encoded, 1, "a")


@pytest.mark.slow
def test_classes_are_mixed_over_shards_and_the_bytes_are_always_the_same(
    photos: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked.children(monkeypatch)
    for name, workers in (("one", 0), ("two", 2)):
        write(photos, tmp_path / name, num_workers=workers)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    train = open_shards(tmp_path / "one", num_classes=2).train
    assert {train[i].label for i in range(PER_SHARD)} == {0, 1}


def test_writing_goes_on_where_it_stopped_and_does_not_mix_sets(photos: ImageData, tmp_path: Path) -> None:
    class Stops:
        def __init__(self, whole: Any) -> None:
            self.whole, self.left = whole, 150 + 5  # looked at before, and the files of two shards and a half

        def __len__(self) -> int:
            return len(self.whole)

        def stored(self, index: int) -> Any:
            self.left -= 1
            if self.left < 0:
                raise UserError("the disk is gone")
            return self.whole.stored(index)

    stops = Stops(photos.train)
    stops.left = 30 + 30 + 2 * PER_SHARD + 3
    sets: Any = {"train": stops, "validation": photos.validation}
    with pytest.raises(UserError, match="the disk is gone"):
        write_shards(sets, tmp_path / "s", classes=None, samples_per_shard=PER_SHARD, num_workers=0)
    assert sorted(path.name for path in (tmp_path / "s").glob("*.tar")) == ["train-000000.tar", "train-000001.tar"]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("*.tar")}
    smaller: Any = {name: Shrunk(of_split, 5, 3, decoded=False) for name, of_split in sets.items()}
    stops.left = 100
    with pytest.raises(UserError, match="holds the shards of another set, or others of this one"):
        write_shards(smaller, tmp_path / "s", classes=None, samples_per_shard=PER_SHARD, num_workers=0)
    with pytest.raises(UserError, match="holds the shards of another set, or others of this one"):
        write(photos, tmp_path / "s", samples_per_shard=5)
    write(photos, tmp_path / "s")
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert contents(open_shards(tmp_path / "s", num_classes=2)) == contents(photos)
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        write(photos, tmp_path / "s")


def make_tar(path: Path, files: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    smooth_picture(10, 14, seed=seed).save(file, "JPEG")
    return file.getvalue()


def test_shards_of_others_need_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other files of a sample are passed over, folders and long names are fine, and the index is left beside."""
    monkeypatch.chdir(tmp_path)
    long = "n01440764/" + "x" * 150
    files = {"a.b/1.json": b"{}", "a.b/1.jpg": jpeg(1), "a.b/1.cls": b"7\n", "a.b/2.cls": b"0", "a.b/2.JPEG": jpeg(2)}
    first = make_tar(tmp_path / "x-0.tar", files | {f"{long}.png": jpeg(3), "only.txt": b"no image"})
    make_tar(tmp_path / "x-1.tar", {"3.jpg": jpeg(4), "3.cls": b"1"})
    data = open_shards(f"{tmp_path}/x-{{0..0}}.tar", validation=f"{tmp_path}/x-1.tar", num_classes=0)
    assert (len(data.train), len(data.validation)) == (3, 1)
    np.testing.assert_array_equal(data.train[2].image, decode_image(jpeg(3), 3, ""))
    assert index_path(first).is_file()
    with pytest.raises(UserError, match=r"the class of x-0.tar:a.b/1.jpg is '7'; class ids are 0..1"):
        open_shards(f"{tmp_path}/x-0.tar", validation=f"{tmp_path}/x-1.tar", num_classes=2).train[0]
    for root in (tmp_path, f"{tmp_path}/x-*.tar"):
        both = open_shards(root, num_classes=8)
        assert {len(both.train), len(both.validation)} == {1, 3}  # a share of the shards is held out
    assert index_shards(tmp_path) == {"train": 4}
    assert len(open_shards(tmp_path).train) in (3, 1)


def test_an_index_of_another_file_is_not_believed(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"1.jpg": jpeg(1)})
    assert len(read_index(path)) == 1
    make_tar(path, {"1.jpg": jpeg(1), "2.jpg": jpeg(2)})
    np.testing.assert_array_equal(read_index(path), scan(path).rows)
    index_path(path).write_bytes(b"no array")
    assert len(read_index(path)) == 2


def test_broken_missing_and_strange_shards_are_named_before_training(written: Path, tmp_path: Path) -> None:
    shard = written / "train-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:5000])
    with pytest.raises(
        UserError, match=r"1 of 5 shards are missing or cut short, .*train-000001.tar \(5000 of \d+ bytes"
    ):
        open_shards(written)
    shard.unlink()
    with pytest.raises(UserError, match=r"train-000001.tar \(missing\)"):
        open_shards(written)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "a.tar").write_bytes(whole[:5000])
    with pytest.raises(UserError, match=r"cannot read the shard .*a.tar .*: it is damaged, cut short or compressed"):
        open_shards(lonely)
    make_tar(lonely / "a.tar", {"1.jpg": jpeg(1)}, mode="w:gz")
    with pytest.raises(UserError, match="compressed"):
        open_shards(lonely)
    make_tar(lonely / "a.tar", {"1.txt": b"x"})
    with pytest.raises(UserError, match="holds no image"):
        open_shards(lonely)
    (lonely / "a.tar").unlink()
    with pytest.raises(UserError, match="there is no shard"):
        open_shards(lonely)
    with pytest.raises(UserError, match="is not there; expected is a folder of shards"):
        open_shards(tmp_path / "nowhere")
    (written / "shards.json").write_text("{}")
    with pytest.raises(UserError, match=r"cannot read .*shards.json \(KeyError"):
        open_shards(written)


def test_what_is_validated_or_tested_with_is_not_trained_on() -> None:
    at = [Shard(f"/set/{name}.tar", 1, 1) for name in ("a", "b", "c", "test-0", "test-1")]
    notes: list[str] = []
    assert _apart(at, [Shard("/set/../set/b.tar", 1, 1)], notes)[0] == [at[0], at[2]]
    assert notes == ["note: 1 shards of data.validation are in data.root too: not trained on"]
    assert _apart(at[:1], at[1:2], notes) == (at[:1], at[1:2])
    assert len(notes) == 1


def test_braces_are_expanded_as_webdataset_does() -> None:
    assert list(expand("a-{08..10}.tar")) == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert list(expand("{x,y}/{0..1}")) == ["x/0", "x/1", "y/0", "y/1"]
    assert list(expand("plain.tar")) == ["plain.tar"]


def visited(order: ShardOrder, epoch: int, length: int) -> list[int]:
    return [order(epoch, place) for place in range(length)]


@pytest.mark.parametrize(("sizes", "batch"), [([7, 5, 9, 11, 6, 3], 8), ([50], 12), ([5] * 40, 64), ([3, 2], 16)])
def test_an_epoch_visits_samples_once_and_another_one_otherwise(sizes: list[int], batch: int) -> None:
    order = ShardOrder(sizes, seed=3, global_batch=batch, window=10)
    length = sum(sizes) // batch * batch or sum(sizes)
    epochs = [visited(order, epoch, length) for epoch in (0, 1)]
    for epoch in epochs:
        assert len(set(epoch)) == length
        assert set(epoch) <= set(range(sum(sizes)))
    assert epochs[0] != epochs[1]
    again = ShardOrder(sizes, seed=3, global_batch=batch, window=10)
    assert [again(1, place) for place in reversed(range(length))] == epochs[1][::-1]  # no state in it


def test_a_process_reads_the_shards_of_its_own_lanes_a_few_at_a_time() -> None:
    told: list[int] = []
    sizes, batch, window = [100] * 64, 16, 100
    order = ShardOrder(sizes, seed=0, global_batch=batch, window=window, ahead=told.extend)
    assert order.lanes == 16
    steps = sum(sizes) // batch
    shards_of = [[order(0, step * batch + slot) // 100 for step in range(steps)] for slot in range(batch)]
    for slot, found in enumerate(shards_of):
        assert len(set(found)) == 4  # a sixteenth of the shards
        assert all(len(set(found[begin : begin + window])) == 1 for begin in range(0, steps, window))
        assert not set(found) & {shard for other in shards_of[:slot] for shard in other}
    assert set(told) < set(range(64))
    assert len(told) == 16 * 3  # each but a lane's first


def test_shards_line_up_anew_in_every_epoch() -> None:
    order = ShardOrder([10] * 32, seed=0, global_batch=8, window=10)
    lanes = [[{order(epoch, 8 * step + lane) // 10 for step in range(40)} for lane in range(8)] for epoch in range(3)]
    for one, other in combinations(lanes, 2):
        assert sum(a == b for a, b in zip(one, other, strict=True)) <= 1


def test_no_lane_window_epoch_or_seed_repeats_the_shuffle_of_another() -> None:
    """Shards as long as a window: what is left of a sample's number by their length is the window's shuffle."""
    shuffles = [
        tuple(order(epoch, 4 * (50 * window + offset) + lane) % 50 for offset in range(50))
        for order in (ShardOrder([50] * 8, seed=seed, global_batch=4, window=50) for seed in (0, 1))
        for epoch in range(2)
        for lane in range(4)
        for window in range(2)
    ]
    assert all(sorted(shuffle) == list(range(50)) for shuffle in shuffles)
    assert len(set(shuffles)) == len(shuffles)


def test_samples_within_a_window_are_well_mixed() -> None:
    order = ShardOrder([1000] * 4, seed=1, global_batch=4, window=1000)
    lane = np.array([order(0, 4 * step) for step in range(1000)]) % 1000
    assert abs(np.corrcoef(lane, np.arange(1000))[0, 1]) < 0.1


def test_training_batches_do_not_depend_on_processes_and_start_anywhere(written: Path) -> None:
    data = open_shards(written, num_classes=2)

    def samples(rank: int, world: int, start: int, workers: int = 0) -> list[int]:
        stream = TrainStream(
            data.train, CROP, global_batch=8, micro_batch=2, rank=rank, world_size=world, seed=0,
            num_workers=workers, device_is_cuda=False,
        )  # fmt: skip
        found = stream.batches(start)
        batches = islice(found, (6 - start) * 8 // world // 2)
        taken = [index for batch in batches for index in batch.index.tolist()]  # type: ignore[union-attr]
        found.close()
        return taken

    alone = samples(0, 1, 0)
    two = [samples(rank, 2, 0) for rank in (0, 1)]
    assert [alone[i : i + 4] for i in range(0, 48, 8)] == [two[0][i : i + 4] for i in range(0, 24, 4)]
    assert [alone[i + 4 : i + 8] for i in range(0, 48, 8)] == [two[1][i : i + 4] for i in range(0, 24, 4)]
    assert samples(0, 1, 4) == alone[32:]
    assert samples(0, 1, 0, workers=2) == alone


class Counting(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []
    broken: ClassVar[dict[str, int]] = {}  # path -> how many answers are cut short

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.broken.get(self.path, 0):
            self.broken[self.path] -= 1
            content = (Path(self.directory) / self.path[1:]).read_bytes()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            return
        super().do_GET()


@pytest.fixture
def address(written: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(shard_cache, "PAUSE", 0.01)
    Counting.asked, Counting.broken = [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(written)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_shards_elsewhere_are_fetched_once_and_tried_again(address: str, photos: ImageData, written: Path) -> None:
    Counting.broken = {"/train-000002.tar": 2}
    data = open_shards(address, num_classes=2)
    assert contents(data) == contents(photos)
    assert contents(open_shards(address, num_classes=2)) == contents(photos)
    asked = [path for path in Counting.asked if path.endswith(".tar")]
    assert sorted(asked) == sorted([*(f"/{path.name}" for path in written.glob("*.tar")), *["/train-000002.tar"] * 2])


def test_a_copy_that_goes_before_it_is_open_is_fetched_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process of the machine made room for a shard of its own."""
    local, dropped = ShardCache.local, []

    def fetched(cache: ShardCache, place: str, size: int | None = None) -> Path:
        path = local(cache, place, size)
        if not dropped:
            path.unlink()
            dropped.append(path)
        return path

    data = open_shards(address)
    monkeypatch.setattr(ShardCache, "local", fetched)
    assert data.train[0].image.dtype == torch.uint8
    assert Counting.asked.count("/train-000000.tar") == 2


def test_shards_elsewhere_are_not_fetched_to_look_ahead(address: str, written: Path) -> None:
    data = open_shards(address)
    assert some_headers(data.train) == []
    assert look_ahead(data.validation, None) is None
    assert not [path for path in Counting.asked if path.endswith(".tar")]
    here = open_shards(written)
    assert {header.size for header in some_headers(here.train)} == {(10, 14)}
    assert look_ahead(here.validation, None) == Seen(((10, 14),), 0, 5)


def test_a_shard_that_cannot_be_had_is_said(address: str, written: Path) -> None:
    data = open_shards(address)
    Counting.broken = {"/train-000000.tar": 100}
    with pytest.raises(UserError, match=r"cannot get http.*train-000000.tar: \d+ of \d+ bytes came"):
        data.train[0]
    (written / "train-000003.tar").unlink()
    with pytest.raises(UserError, match=r"cannot get http.*train-000003.tar: .*404"):
        data.train[3 * PER_SHARD]
    assert Counting.asked.count("/train-000003.tar") == 1  # it would not be there the next time either
    (written / "shards.json").unlink()
    with pytest.raises(UserError, match=r"there is no shards.json at http"):
        open_shards(address)
    with pytest.raises(UserError, match=r"how many samples http.*train-000000.tar holds is not known"):
        open_shards(f"{address}/train-{{000000..000003}}.tar")
    with pytest.raises(UserError, match=r"there is no shards.json at nowhere://a"):
        open_shards("nowhere://a")


def test_shards_to_come_are_fetched_ahead(address: str) -> None:
    data = open_shards(address, window=PER_SHARD)
    assert isinstance(data.train, ShardSet)
    order = data.train.order(seed=0, global_batch=1)
    order(0, 0)
    deadline = threading.Event()
    for _ in range(200):
        if any(path.endswith(".tar") for path in Counting.asked):
            return
        deadline.wait(0.02)
    raise AssertionError("nothing was fetched")


def test_copies_take_no_more_room_than_they_may(tmp_path: Path) -> None:
    """The longest unused one goes; fsspec's own addresses are read too."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 1000)
    cache = ShardCache(tmp_path / "cache", 2500)
    copies = {name: cache.local(f"file://{tmp_path}/{name}", 1000) for name in "ab"}
    cache.local(f"file://{tmp_path}/a", 1000)
    cache.local(f"file://{tmp_path}/c", 1000)
    assert copies["a"].read_bytes() == b"a" * 1000
    assert not copies["b"].exists()


def test_the_cache_removes_nothing_but_its_own_copies(tmp_path: Path) -> None:
    """However full it is, and whatever else lies in the folder that was named."""
    theirs = {"thesis.tex": b"x" * 4000, "0123456789ab-notes": b"y" * 4000, ".old.partial": b"z"}
    (tmp_path / "documents").mkdir()
    for name, content in theirs.items():
        (tmp_path / "documents" / name).write_bytes(content)
        os.utime(tmp_path / "documents" / name, (0, 0))
    cache = ShardCache(tmp_path / "documents", 2500)
    cache.folder.mkdir()
    (cache.folder / "a note of mine").write_bytes(b"n" * 4000)
    os.utime(cache.folder / "a note of mine", (0, 0))
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 1000)
        cache.local(f"file://{tmp_path}/{name}", 1000)
    assert {path.name: path.read_bytes() for path in cache.folder.parent.iterdir() if path.is_file()} == theirs
    assert (cache.folder / "a note of mine").read_bytes() == b"n" * 4000
    assert sum(path.stat().st_size for path in cache.folder.glob("*-[abc]")) == 2000


def test_a_clock_that_goes_back_costs_the_cache_nothing(tmp_path: Path) -> None:
    """A copy of tomorrow counts as used last, and one made now goes first; every file that is asked for is right."""
    cache = ShardCache(tmp_path / "cache", 2500)
    for name in "abca":
        (tmp_path / name).write_bytes(name.encode() * 1000)
        copy = cache.local(f"file://{tmp_path}/{name}", 1000)
        assert copy.read_bytes() == name.encode() * 1000
        if name == "a":
            os.utime(copy, (2**32, 2**32))


@pytest.mark.slow
def test_a_fetch_that_was_killed_leaves_nothing_that_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 1000)
    killed = (
        "import os, signal, sys; from pathlib import Path; from mae_hydra.data.shards import cache as shard_cache\n"
        "def fetch(address, target, size): target.write_bytes(b'a' * 500); os.kill(os.getpid(), signal.SIGKILL)\n"
        "shard_cache.fetch = fetch\n"
        "shard_cache.ShardCache(Path(sys.argv[1]) / 'cache', 2500).local(f'file://{sys.argv[1]}/a', 1000)"
    )
    assert forked.run(tmp_path, "-c", killed, str(tmp_path)).returncode == -signal.SIGKILL
    cache = ShardCache(tmp_path / "cache", 2500)
    assert [path.suffix for path in cache.folder.iterdir() if path.suffix != ".lock"] == [".partial"]
    atomic._cleared.clear()
    assert cache.local(f"file://{tmp_path}/a", 1000).read_bytes() == b"a" * 1000
    assert not list(cache.folder.glob(".*.partial"))


def test_a_cache_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that the file could not be reached, at once and not after all tries."""
    (tmp_path / "a").write_bytes(b"a" * 1000)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"cannot keep a copy of file:.*No space left on device; make room there, or"):
        ShardCache(tmp_path / "cache", 2500).local(f"file://{tmp_path}/a", 1000)
    with pytest.raises(UserError, match=r"cannot make .*data.cache"):
        ShardCache(tmp_path / "a", 2500).anew(f"file://{tmp_path}/a")


def test_threads_share_a_set_and_lose_no_descriptor(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two shards are kept open, and eight threads ask for samples of all of them at once."""
    monkeypatch.setattr(sys.modules[ShardSet.__module__], "OPEN_SHARDS", 2)
    here = pickle.loads(pickle.dumps(open_shards(written, num_classes=2).train))
    expected = [here.stored(index) for index in range(len(here))]
    gc.collect()  # files of other tests, which would be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            order = [index * 7 % len(here) for index in range(40 * len(here))]
            assert list(pool.map(here.stored, order)) == [expected[index] for index in order]
    finally:
        sys.setswitchinterval(switching)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_class_of_another_number_is_refused(written: Path) -> None:
    with pytest.raises(UserError, match=r"of 2 classes and data.num_classes is 3; set"):
        open_shards(written, num_classes=3)
    for changes, said in (
        ({"window": 0}, "data.window must be at least 1"),
        ({"cache_gb": 0}, "data.cache_gb must be positive"),
        ({"validation_fraction": 1.0}, "data.validation_fraction must lie in"),
        ({"prefetch": 0}, "data.prefetch must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            open_shards(written, **changes)
    content = json.loads((written / "shards.json").read_text())
    content["splits"]["train"][0]["samples"] = 5
    (written / "shards.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="holds 6 samples, its list says 5"):
        open_shards(written).train[0]
