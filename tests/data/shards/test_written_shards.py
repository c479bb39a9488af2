"""What is made smaller and written as shards, and that nothing else is."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet, pixels, smooth_picture
from PIL import Image
from test_copies_and_lists import tar
from test_strange_shards import make

from mae_hydra.data import decode_image
from mae_hydra.data.dataset import Stored
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.shards import write as writing
from mae_hydra.data.shards.index import ANY
from mae_hydra.data.shards.maps import WithMaps
from mae_hydra.data.shards.shrink import Shrunk
from mae_hydra.data.shards.write import index_shards, write_shards
from mae_hydra.errors import UserError


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
