"""A share of the labels: nested, the same for the same seed wherever the files lie, and without a class left out."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import ListSet
from PIL import Image

from mae_hydra.data import imagenet, scenes, segmentation, shards
from mae_hydra.data import label_share as module
from mae_hydra.data.dataset import Sample, behind, limited, name_of
from mae_hydra.data.label_share import LOOKED_AT, _digest, label_share
from mae_hydra.data.shards.write import write_shards
from mae_hydra.errors import UserError

COMMON: dict[str, Any] = {
    "image_size": 32, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3, "ignore_index": 255, "batch_size": 2,
    "num_workers": 0,
}  # fmt: skip


class Made:
    """Samples with classes, in the order of `names`; of those in `broken` nothing can be read."""

    def __init__(self, classes: dict[str, set[int]], broken: tuple[str, ...] = ()) -> None:
        self.names, self.classes, self.broken, self.read = list(classes), classes, broken, 0

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("the pixels are not needed")

    def name(self, index: int) -> str:
        return self.names[index]

    def labels(self, index: int) -> torch.Tensor:
        self.read += 1
        if self.names[index] in self.broken:
            raise UserError("a value that means nothing")
        return torch.tensor([[*self.classes[self.names[index]], 255]])


def made(count: int = 200, rare: int = 150) -> Made:
    """All have class 0, every second one class 1, one alone class 2."""
    return Made({f"image {n:03d}": {0, *([1] if n % 2 else []), *([2] if n == rare else [])} for n in range(count)})


class Told:
    """Samples whose class is known without reading them: 0, but for one."""

    def __len__(self) -> int:
        return 3 * LOOKED_AT

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("nothing is read")

    def class_id(self, index: int) -> int:
        return int(index == self.rare)

    rare = 0


def test_of_classes_that_are_known_none_is_left_out_however_many_images_there_are(monkeypatch):
    last = max(range(len(Told())), key=lambda index: _digest(str(index), 0))
    monkeypatch.setattr(Told, "rare", last)
    share, notes = label_share(Told(), 0.001, 0, "ab")
    assert last in {behind(share, index)[1] for index in range(len(share))}
    assert not notes


def drawn(images: Any, fraction: float, seed: int | None = 0, classes: str = "abc") -> list[str]:
    share, _ = label_share(images, fraction, seed, classes)
    return [name_of(share, index) for index in range(len(share))]


def test_of_samples_with_a_map_of_labels_the_map_tells_the_classes(monkeypatch):
    monkeypatch.setattr(Made, "class_id", lambda self, index: None, raising=False)  # as samples of shards have both
    share, notes = label_share(made(), 0.005, 0, "abc")
    assert "image 150" in {name_of(share, index) for index in range(len(share))}
    assert not any("may leave them out" in note for note in notes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_smaller_share_lies_within_every_larger_one(seed):
    shares = [set(drawn(made(), fraction, seed)) for fraction in (0.01, 0.03, 0.1, 0.3, 1.0)]
    assert all(small < large for small, large in pairwise(shares))
    assert [len(share) for share in shares[1:]] == [6, 20, 60, 200]


def test_the_share_follows_from_names_and_seed_alone():
    whole = made()
    turned = Made(dict(reversed(whole.classes.items())))
    assert set(drawn(whole, 0.1)) == set(drawn(turned, 0.1)) == set(drawn(whole, 0.1, None))
    assert set(drawn(whole, 0.1, 1)) != set(drawn(whole, 0.1, 0))
    assert drawn(whole, 0.1) == sorted(drawn(whole, 0.1))  # read in the order in which they lie


@pytest.mark.parametrize("seed", range(5))
def test_no_class_is_left_out_and_what_that_takes_is_said(seed):
    share, notes = label_share(made(), 0.005, seed, "abc")
    names = [name_of(share, index) for index in range(len(share))]
    assert "image 150" in names
    assert set.union(*(made().classes[name] for name in names)) == {0, 1, 2}
    assert len(share) <= 3
    assert len(notes) == (len(share) > 1)
    if notes:
        assert f"0.005 is 1 of 200 training images; {len(share)} are taken" in notes[0]


def test_a_class_that_nobody_has_is_named():
    images = made(40, rare=99)
    share, notes = label_share(images, 0.1, 0, ("sky", "road", "ghost"))
    assert len(share) == 4
    assert notes == ["note: none of 40 training images has ghost, so data.label_fraction may leave them out"]


def test_what_cannot_be_read_is_passed_over():
    images = Made(made().classes, broken=("image 150",))
    assert "has c," in label_share(images, 0.1, 0, "abc")[1][0]


def test_no_more_is_read_than_it_takes():
    images = Made({str(number): {0, 1, 2} for number in range(5000)})
    label_share(images, 0.01, 0, "abc")
    assert images.read == 1


def test_only_the_first_are_read_for_a_class_that_nobody_has(monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 10)
    images = made(rare=999)
    share, notes = label_share(images, 0.1, 0, "abc")
    assert (len(share), images.read, notes) == (
        20, 10, ["note: none of 10 training images has c, so data.label_fraction may leave them out"],
    )  # fmt: skip
    broken = Made(images.classes, broken=tuple(images.names))
    assert label_share(broken, 0.1, 0, "abc")[1] == [notes[0].replace("has c", "has a, b, c")]


@pytest.mark.parametrize(("missing", "named"), [(6, "b, c, d, e, f, g"), (7, "b, c, d, e, f, g, …")])
def test_of_many_missing_classes_six_are_named(missing, named):
    images = Made({str(number): {0} for number in range(20)})
    _, [note] = label_share(images, 0.5, 0, "abcdefgh"[: missing + 1])
    assert f"has {named}, so" in note


def test_samples_that_tell_their_class_with_their_pixels_alone_are_read():
    images = ListSet([Sample(torch.zeros(1), int(number == 7), str(number)) for number in range(20)])
    share, notes = label_share(images, 0.05, 0, "ab")
    assert {share[index].label for index in range(len(share))} == {0, 1}
    assert notes == [
        "note: data.label_fraction=0.05 is 1 of 20 training images; 2 are taken, so that none of the "
        "classes is left out"
    ]


def test_all_is_all():
    images = made()
    assert label_share(images, None, 0, "abc") == label_share(images, 1.0, 0, "abc") == (images, [])
    assert images.read == 0


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(fraction):
    with pytest.raises(ValueError, match=r"data.label_fraction must lie in \(0, 1\], got"):
        label_share(made(), fraction, 0, "abc")


def test_of_a_limited_set_it_is_a_share_of_what_is_left():
    share, _ = label_share(limited(made(), 50), 0.2, 0, "ab")
    assert len(share) == 10
    assert all(behind(share, index)[1] % 4 == 0 for index in range(10))
    assert "image 148" in drawn(limited(made(rare=148), 50), 0.1)  # its classes are read, not those of number 37
    assert len(drawn(made(100, rare=50), 0.29)) == 29  # 28.999…


def test_scenes_have_every_class_in_their_smallest_share():
    own: dict[str, Any] = {"num_train": 400, "num_validation": 1, "seed": 0}
    data = scenes(**COMMON, **own, num_classes=12, label_fraction=0.01, label_seed=3)
    met = {int(value) for index in range(len(data.train)) for value in data.train[index].label.unique()}
    assert met >= set(range(12))
    assert len(data.train) < 12
    whole = scenes(**COMMON, **own, num_classes=12)
    assert len(whole.train) == 400


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    root, rng = tmp_path_factory.mktemp("share"), np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 2)):
        for number in range(count):
            kind = ("cat", "dog")[number % 10 == 3 or (split == "val" and number == 1)]
            for place, pixels in (
                (root / "classes" / split / kind, rng.integers(0, 255, (32, 32, 3), np.uint8)),
                (root / "maps" / "images" / split, rng.integers(0, 255, (32, 32, 3), np.uint8)),
                (root / "maps" / "masks" / split, np.full((32, 32), kind == "dog", np.uint8)),
            ):
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / f"{number:02d}.png")
    return root


def test_files_are_drawn_by_their_names_and_every_class_is_there(folders, tmp_path):
    own: dict[str, Any] = {"num_classes": 2, "label_fraction": 0.1}
    maps: dict[str, Any] = {
        "images": "images/{split}", "maps": "masks/{split}", "image_suffix": None, "map_suffix": None, "lists": None,
        "splits": {"train": "train", "validation": "val"}, "validation_fraction": 0.1, "reduce_zero_label": False,
    }  # fmt: skip
    by_folder = imagenet(**COMMON, **own, root=str(folders / "classes"))
    by_map = segmentation(**COMMON, **own, **maps, root=str(folders / "maps"))
    whole = imagenet(**COMMON, root=str(folders / "classes"), num_classes=2)
    sets = {"train": whole.train, "validation": whole.validation}
    write_shards(sets, tmp_path / "tar", classes=whole.class_names, samples_per_shard=6, num_workers=0)
    kept: dict[str, Any] = {"validation": None, "validation_fraction": 0.2, "window": 8, "cache": "c", "cache_gb": 1.0}
    in_tars = shards(**COMMON, **own, **kept, root=str(tmp_path / "tar"))
    for data in (by_folder, by_map, in_tars):
        assert len(data.train) == 2
        labels = [data.train[index].label for index in range(2)]
        assert {int(torch.as_tensor(label).max()) for label in labels} == {0, 1}
        assert all(not name_of(data.train, index).isdigit() for index in range(2))
    assert behind(in_tars.train, 0)[0].name(7) == "train-000001.tar:1"
