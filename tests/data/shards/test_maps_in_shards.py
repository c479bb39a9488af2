"""Class maps in shards: written as classes, read as the set that they were made of, and as others store them."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import save, smooth_picture
from PIL import Image
from test_shards import COMMON, open_shards

from mae_hydra.data import ImageData, segmentation
from mae_hydra.data.looking import look
from mae_hydra.data.looking.advice import advise
from mae_hydra.data.shards.index import Endings
from mae_hydra.data.shards.maps import WithMaps
from mae_hydra.data.shards.shrink import Shrunk
from mae_hydra.data.shards.write import index_shards, write_shards
from mae_hydra.errors import UserError

HEIGHT, WIDTH, CLASSES = 12, 16, 3
SPLITS = {"train": "train", "validation": "val", "test": None}


def stored_map(seed: int) -> np.ndarray:
    """Values 10 and 20 for two classes, 30 and 31 for a third, 0 for what counts for nothing."""
    coarse = np.random.default_rng(seed).choice([0, 10, 20, 30, 31], (3, 4)).astype(np.uint8)
    return np.kron(coarse, np.ones((4, 4), np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    """9 and 4 photos, whose maps are no classes yet, ignored by another number than usual."""
    root = tmp_path_factory.mktemp("labelled")
    for number in range(13):
        split = "train" if number < 9 else "val"
        save(smooth_picture(HEIGHT, WIDTH, number), root / "photos" / split / f"{number}.jpg")
        save(Image.fromarray(stored_map(number)), root / "maps" / split / f"{number}.png")
    return segmentation(
        **COMMON
        | {
            "root": str(root), "images": "photos/{split}", "maps": "maps/{split}", "image_suffix": None,
            "map_suffix": None, "splits": SPLITS, "validation_fraction": 0.1, "lists": None, "num_classes": CLASSES,
            "ignore_index": 9, "classes": ["sea", "land", "town"], "palette": "0000ff 00ff00 ff0000",
            "values": {10: "sea", 20: "land", "30-31": "town", 0: "ignore"},
        }
    )  # fmt: skip


def write(photos: ImageData, root: Path, **changes: Any) -> Path:
    sets: Any = {
        "train": WithMaps(photos.train, photos.ignore_index, photos.palette),  # type: ignore[arg-type]
        "validation": WithMaps(photos.validation, photos.ignore_index, photos.palette),  # type: ignore[arg-type]
    }
    write_shards(sets, root, **{"classes": photos.class_names, "samples_per_shard": 4, "num_workers": 0} | changes)
    return root


def samples(data: ImageData) -> list[tuple[bytes, bytes]]:
    """Pixels and classes of every sample, 255 for what is ignored, in an order that does not depend on names."""
    found = [each[place] for each in (data.train, data.validation) for place in range(len(each))]
    maps = [np.where(sample.label == data.ignore_index, 255, sample.label).astype(np.uint8) for sample in found]
    return sorted((sample.image.numpy().tobytes(), each.tobytes()) for sample, each in zip(found, maps, strict=True))


@pytest.fixture(scope="module")
def written(photos: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(photos, tmp_path_factory.mktemp("made") / "shards")


def test_shards_hold_what_the_set_says_of_its_maps(photos: ImageData, written: Path) -> None:
    data = open_shards(written, num_classes=CLASSES)
    assert (data.target, data.class_names, len(data.train)) == ("map", ("sea", "land", "town"), 9)
    assert np.array_equal(data.palette, photos.palette)
    assert samples(data) == samples(photos)
    with tarfile.open(written / "train-000000.tar") as archive:
        names = archive.getnames()
        with Image.open(io.BytesIO(archive.extractfile(names[1]).read())) as picture:  # type: ignore[union-attr]
            assert picture.mode == "P"
    assert [name.partition(".")[2] for name in names[:2]] == ["jpg", "map.png"]
    alone = open_shards(written)  # for pre-training
    assert (alone.target, alone.train[0].label) == ("none", None)


def test_a_killed_call_goes_on_and_writes_the_same(photos: ImageData, written: Path, tmp_path: Path) -> None:
    def stop(samples: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(photos, tmp_path / "again", done=stop)
    write(photos, tmp_path / "again")
    names = sorted(path.name for path in written.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert all((written / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in names)


def test_smaller_images_have_smaller_maps(photos: ImageData, tmp_path: Path) -> None:
    sets: Any = {
        name: WithMaps(Shrunk(images, 6, 3, decoded=True), photos.ignore_index, photos.palette)  # type: ignore[arg-type]
        for name, images in (("train", photos.train), ("validation", photos.validation))
    }
    write_shards(sets, tmp_path / "small", classes=photos.class_names, samples_per_shard=9, num_workers=0)
    data = open_shards(tmp_path / "small", num_classes=CLASSES)
    originals = {
        np.where(label == 9, 255, label)[::2, ::2].astype(np.uint8).tobytes()
        for label in (photos.train[place].label.numpy() for place in range(9))  # type: ignore[union-attr]
    }
    assert {data.train[place].label.numpy().tobytes() for place in range(9)} == originals  # type: ignore[union-attr]


def tar_of(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def encoded(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("ending", ["png", "seg.png"])
def test_shards_of_others_are_read_with_their_ending_and_values(tmp_path: Path, ending: str) -> None:
    files: dict[str, bytes] = {}
    for number in range(6):
        files[f"{number}.jpg"] = encoded(smooth_picture(HEIGHT, WIDTH, number), "JPEG")
        files[f"{number}.{ending}"] = encoded(Image.fromarray(stored_map(number)), "PNG")
        files[f"{number}.json"] = b"{}"
    for split, count in (("train", 4), ("val", 2)):
        tar_of(tmp_path / f"{split}-0.tar", dict(list(files.items())[: 3 * count]))
    values = {10: 0, 20: 1, "30-31": 2, 0: "ignore"}
    data = open_shards(tmp_path, num_classes=CLASSES, map_ending=ending, values=values)
    assert (len(data.train), len(data.validation), data.target) == (4, 2, "map")
    for place in range(4):
        expected = np.select(
            [stored_map(place) == 10, stored_map(place) == 20, stored_map(place) >= 30], [0, 1, 2], 255
        )
        assert np.array_equal(data.train[place].label, expected)
    header = data.train.header(0)  # type: ignore[attr-defined]
    assert (header.size, header.mode) == ((HEIGHT, WIDTH), "L")
    assert index_shards(tmp_path, endings=Endings("jpg", ending)) == {"train": 4, "validation": 2}
    assert open_shards(tmp_path, num_classes=CLASSES, values=values).train[0].label is not None  # by shards.json


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    photo = encoded(smooth_picture(HEIGHT, WIDTH, 0), "JPEG")
    tar_of(
        tmp_path / "a/train-0.tar", {"0.jpg": photo, "1.jpg": photo, "1.png": encoded(Image.new("L", (3, 4)), "PNG")}
    )
    data = open_shards(tmp_path / "a", num_classes=CLASSES, map_ending="png")
    with pytest.raises(UserError, match=r"train-0\.tar:0\.jpg has no class map"):
        data.train[0]
    for read in (data.train.__getitem__, data.train.header):  # type: ignore[attr-defined]
        with pytest.raises(UserError, match=r"1\.jpg is 3x4 pixels but its image is 16x12"):
            read(1)
    tar_of(tmp_path / "b/train-0.tar", {"0.jpg": photo, "0.png": encoded(Image.new("L", (WIDTH, HEIGHT), 77), "PNG")})
    with pytest.raises(UserError, match=r"the class map of train-0\.tar:0\.jpg holds the value 77"):
        open_shards(tmp_path / "b", num_classes=CLASSES, map_ending="png").train[0]


def test_a_look_at_shards_finds_their_maps(written: Path) -> None:
    best, *_, alone = advise(look(written)).ways
    assert (best.model, best.data, alone.model) == ("upernet_vitt", "shards", "mae_vitt")
    wanted = {"root": written, "image_suffix": "jpg", "map_ending": "map.png", "num_classes": CLASSES}
    assert {key: best.keys[key] for key in wanted} == wanted


def test_maps_of_more_than_255_classes_have_16_bits(tmp_path: Path) -> None:
    values = [np.random.default_rng(number).choice([0, 254, 255, 299, 65535], (6, 8)) for number in range(4)]
    for number, each in enumerate(values):
        save(smooth_picture(6, 8, number), tmp_path / f"set/photos/{number}.jpg")
        save(Image.fromarray(each.astype(np.uint16)), tmp_path / f"set/maps/{number}.png")
    made = segmentation(
        **COMMON
        | {
            "root": str(tmp_path / "set"), "images": "photos", "maps": "maps", "image_suffix": None, "map_suffix": None,
            "splits": None, "validation_fraction": 0.25, "lists": None, "num_classes": 300, "ignore_index": 300,
        }
    )  # fmt: skip
    write(made, tmp_path / "shards")
    data = open_shards(tmp_path / "shards", num_classes=300, ignore_index=300)
    wanted = sorted(np.where(each == 65535, 300, each).astype(np.uint16).tobytes() for each in values)
    parts = (data.train, data.validation)
    assert sorted(part[n].label.numpy().tobytes() for part in parts for n in range(len(part))) == wanted  # type: ignore
    small: Any = Shrunk(made.train, 3, 3, decoded=False)  # type: ignore[arg-type]
    assert WithMaps(small, 300, made.palette).encoded_map(0)[24] == 16  # bits
