"""Pictures of many bands are found as such, and the words that are printed read them."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mae_hydra.commands.check_data.look import look_at_data
from mae_hydra.configuration.compose import compose_config
from mae_hydra.configuration.construct import build
from mae_hydra.data.audit.statistics import statistics
from mae_hydra.data.looking import look
from mae_hydra.data.looking.advice import advise


def write(root: Path, bands: int, kind: str, names: int = 6) -> None:
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(names):
        classes = np.kron(rng.permutation([0, 1, 1, 2]).reshape(2, 2), np.ones((16, 16), int))
        values = (
            100 * np.arange(1, bands + 1) + 30 * classes[:, :, None] + rng.integers(0, 20, (32, 32, bands))
        ).astype(kind)
        form = {"photometric": "minisblack", "planarconfig": "contig"} if bands > 1 else {}
        tifffile.imwrite(root / f"images/{number}.tif", values, **form)
        tifffile.imwrite(root / f"masks/{number}.tif", classes.astype(np.int64))  # as some programs write them


@pytest.mark.parametrize(("bands", "kind"), [(2, "float32"), (13, "uint16")])
def test_the_words_for_bands_are_measured_and_read_the_set(tmp_path, bands, kind, capsys):
    write(tmp_path, bands, kind)
    assert look_at_data(tmp_path, None, None) == 0
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])[2:]
    assert f"data.channels={bands}" in words
    assert ("data.shown_bands=[4,3,2]" in words) == (bands == 13)
    data = build(compose_config(words).data, "data")
    assert (data.channels, data.num_classes, len(data.train) + len(data.validation)) == (bands, 3, 6)
    images = np.stack([data.train[place].image.numpy() for place in range(len(data.train))]) / 65535
    assert data.mean == pytest.approx(images.mean((0, 2, 3)), abs=6e-4)
    assert data.std == pytest.approx(images.std((0, 2, 3)), abs=6e-4)
    assert statistics(data.train, 100) == (list(data.mean), list(data.std))


@pytest.mark.parametrize(("bands", "kind"), [(1, "uint16"), (3, "uint16"), (3, "uint8"), (4, "uint8")])
def test_photographs_need_no_words(tmp_path, bands, kind):
    write(tmp_path, bands, kind)
    for way in advise(look(tmp_path)).ways:
        assert "channels" not in way.keys


@pytest.mark.parametrize("bands", [3, 6])
def test_arrays_are_found_and_read_as_pictures_and_as_class_maps(tmp_path, bands, capsys):
    write(tmp_path, bands, "uint8")
    for path in sorted(tmp_path.rglob("*.tif")):
        np.save(path.with_suffix(".npy"), tifffile.imread(path))
        path.unlink()
    assert look_at_data(tmp_path, None, None) == 0
    lines = capsys.readouterr().out.splitlines()
    words = shlex.split(lines[-1])[2:]
    assert ("data.bands=[1,2,3]" in words) == (bands == 3)
    data = build(compose_config(words).data, "data")
    assert (data.channels, data.num_classes, len(data.train) + len(data.validation)) == (bands, 3, 6)
    alone = shlex.split(next(line for line in lines if line.startswith("to pre-train on the photos alone: ")))
    assert {"model=mae_vitt", "data.maps=null", f"data.channels={bands}"} <= set(alone)
    photos = build(compose_config(alone[alone.index("model=mae_vitt") :]).data, "data")
    assert (photos.target, len(photos.train) + len(photos.validation)) == ("none", 6)


def test_arrays_of_other_things_are_passed_over(tmp_path):
    write(tmp_path, 3, "uint8")
    np.save(tmp_path / "images/embedding.npy", np.zeros(512))
    found = look(tmp_path)
    assert found.pairs.images.total == 6
    assert found.passed_over == {".npy": 1}


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (range(0, 300, 2), [{"num_classes": 299, "ignore_index": 299}, {"num_classes": 298, "ignore_index": 298}]),
        ((0, 1000, 2000), [{"num_classes": 3, "values": {0: 0, 1000: 1, 2000: 2}}]),
        (range(0, 60_000, 1000), []),  # instances
    ],
)
def test_numbers_above_255_are_classes_where_they_are_dense_or_few(tmp_path, numbers, words):
    write(tmp_path, 3, "uint8")
    values = np.resize(np.array(numbers, np.uint16), 256)
    for number in range(6):
        tifffile.imwrite(tmp_path / f"masks/{number}.tif", np.kron(values.reshape(16, 16), np.ones((8, 8), np.uint16)))
        tifffile.imwrite(
            tmp_path / f"images/{number}.tif", np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
        )
    advice = advise(look(tmp_path))
    ways = [way for way in advice.ways if way.data == "segmentation"]
    assert [{key: way.keys.get(key) for key in told} for way, told in zip(ways, words, strict=True)] == words
    if not words:
        assert "60 numbers up to 59000, of which no classes can be told" in advice.said[0]


def test_a_table_that_only_lists_pictures_does_not_hide_them(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    write(tmp_path, 4, "uint16")
    pa.parquet.write_table(pa.table({"id": ["0", "1"], "split": ["train", "val"]}), tmp_path / "chips.parquet")
    plain = tmp_path / "masks_2"  # of which nothing can be learned
    plain.mkdir()
    for number in range(6):
        tifffile.imwrite(plain / f"{number}.tif", np.zeros((32, 32), np.uint8))
    found = look(tmp_path)
    assert (found.kind, found.pairs.maps.folder) == ("maps", "masks")
