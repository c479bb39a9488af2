"""Tables as Hugging Face keeps them, made here by pyarrow: images, classes, maps; of a folder, a file, an address."""

import io
import json
import pickle
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import smooth_picture
from PIL import Image
from test_shards import COMMON
from test_train_stream import CROP

from mae_hydra.data import ImageData, TrainStream, huggingface
from mae_hydra.data.looking import Labels, Split, look
from mae_hydra.data.looking.advice import advise
from mae_hydra.data.shards import huggingface as reader
from mae_hydra.data.shards import table_set
from mae_hydra.data.shards.write import write_shards
from mae_hydra.errors import UserError

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

USUAL = {"train": "train", "validation": "validation", "test": "test"}
NAMES = ["cat", "dog", "eel"]
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def opened(path: Path | str | None, **changes: Any) -> ImageData:
    own: dict[str, Any] = {
        "path": None if path is None else str(path), "subset": None, "revision": None, "streaming": False,
        "image": None, "label": None, "mask": None, "splits": USUAL, "validation_fraction": 0.25, "window": 8,
        "num_classes": 0,
    }  # fmt: skip
    return huggingface(**COMMON | own | changes)


def encoded(picture: Image.Image, kind: str = "JPEG") -> dict[str, Any]:
    file = io.BytesIO()
    picture.save(file, kind)
    return {"bytes": file.getvalue(), "path": "somewhere"}


def class_map(seed: int) -> np.ndarray:
    return np.kron(np.random.default_rng(seed).integers(0, 3, (2, 3)), np.ones((4, 4))).astype(np.uint8)


def table(numbers: range, **columns: Any) -> Any:
    """Photos 8x12 with a declared class and a class map each."""
    told = {"label": {"_type": "ClassLabel", "names": NAMES}, "image": {"_type": "Image"}}
    found = {
        "image": pa.array([encoded(smooth_picture(8, 12, n)) for n in numbers], PICTURE),
        "label": pa.array([n % 3 for n in numbers], pa.int64()),
        "annotation": pa.array([encoded(Image.fromarray(class_map(n)), "PNG") for n in numbers], PICTURE),
    } | columns
    return pa.table(found).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": told}})})


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 rows of training in two files and row groups of 4, 6 of validation."""
    root = tmp_path_factory.mktemp("tables")
    (root / "data").mkdir()
    for number, rows in enumerate((range(12), range(12, 20))):
        pa.parquet.write_table(table(rows), root / f"data/train-{number:05d}-of-00002.parquet", row_group_size=4)
    pa.parquet.write_table(table(range(20, 26)), root / "data/validation-00000-of-00001.parquet", row_group_size=4)
    return root


def photo(number: int) -> bytes:
    with Image.open(io.BytesIO(encoded(smooth_picture(8, 12, number))["bytes"])) as picture:
        return np.asarray(picture).transpose(2, 0, 1).tobytes()


def test_images_classes_and_maps_are_read_by_their_columns(tables: Path) -> None:
    data = opened(tables, num_classes=3)
    assert (data.target, data.class_names, len(data.train), len(data.validation)) == ("class", tuple(NAMES), 20, 6)
    for number in (0, 11, 12, 19):
        sample = data.train[number]
        assert (sample.label, sample.image.numpy().tobytes()) == (number % 3, photo(number))
    assert data.train.header(3).size == (8, 12)  # type: ignore[attr-defined]
    assert data.train[13].name == "data/train-00001-of-00002.parquet:1.jpg"
    labelled = opened(tables, num_classes=3, mask="annotation")
    assert labelled.target == "map"
    assert all(np.array_equal(labelled.train[n].label, class_map(n)) for n in range(20))
    assert labelled.train.header(3).size == (8, 12)  # type: ignore[attr-defined]
    alone = opened(tables / "data/train-00000-of-00002.parquet", mask="annotation")
    assert (alone.target, len(alone.train), len(alone.validation)) == ("none", 9, 3)


def test_rows_without_a_split_lend_a_share_that_stays(tables: Path, tmp_path: Path) -> None:
    pa.parquet.write_table(table(range(16)), tmp_path / "all.parquet", row_group_size=5)
    data = opened(tmp_path, num_classes=3)
    rows = [
        {each[place].image.numpy().tobytes() for place in range(len(each))} for each in (data.train, data.validation)
    ]
    assert (len(data.train), len(data.validation)) == (12, 4)
    assert rows[0] | rows[1] == {photo(number) for number in range(16)}
    assert [opened(tmp_path).validation[place].name for place in range(4)] == [
        data.validation[place].name for place in range(4)
    ]


def test_an_epoch_visits_every_row_once_and_goes_on_anywhere_on_any_number_of_processes(tables: Path) -> None:
    data = opened(tables, num_classes=3, window=6)

    def index_of(world_size: int, start: int, steps: int, workers: int = 0) -> list[list[int]]:
        streams = [
            TrainStream(
                data.train, CROP, global_batch=4, micro_batch=2, rank=rank,
                world_size=world_size, seed=3, num_workers=workers, device_is_cuda=False,
            ).batches(start)
            for rank in range(world_size)
        ]  # fmt: skip
        found = []
        for _ in range(steps):
            parts = [next(stream) for _ in range(2 if world_size == 1 else 1) for stream in streams]
            found.append([int(each) for part in parts for each in part.index])  # type: ignore[union-attr]
        for stream in streams:
            stream.close()
        return found

    whole = index_of(1, 0, 10)
    assert sorted(chain(*whole[:5])) == list(range(20))
    assert sorted(chain(*whole[5:])) == list(range(20))
    assert whole[:5] != whole[5:]
    assert index_of(1, 7, 3) == whole[7:]
    assert [sorted(step) for step in index_of(2, 0, 10)] == [sorted(step) for step in whole]


def test_few_row_groups_are_held_and_none_travels_to_another_process(tables: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(table_set, "MOST_BYTES", 1)
    images = opened(tables, num_classes=3).train
    names = [images[place].name for place in (0, 19, 0, 7)]
    assert names[0] == names[2]
    assert len(images._held) == 1  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(images))
    assert not again._held
    assert torch.equal(again[19].image, images[19].image)
    assert again.listing() == images.listing() == opened(tables, num_classes=3).train.listing()  # type: ignore[attr-defined]
    assert images.listing() != opened(tables / "data/train-00000-of-00002.parquet").train.listing()  # type: ignore[attr-defined]


def test_saved_arrow_files_addresses_and_names_of_classes_are_read(tables: Path, tmp_path: Path) -> None:
    whole = table(range(5), label=pa.array(["owl", "ant", "owl", "bee", "ant"]))
    (tmp_path / "train").mkdir()
    with pa.ipc.new_stream(str(tmp_path / "train/data-00000-of-00001.arrow"), whole.schema) as file:
        file.write_table(whole, max_chunksize=2)
    data = opened(tmp_path, num_classes=3, label="label", classes=["ant", "bee", "owl"])
    found = {each[n].name: each[n].label for each in (data.train, data.validation) for n in range(len(each))}
    assert [found[f"train/data-00000-of-00001.arrow:{row}.jpg"] for row in range(5)] == [2, 0, 2, 1, 0]
    far = opened(f"file://{tables}", num_classes=3)
    assert torch.equal(far.train[7].image, opened(tables).train[7].image)


def test_the_hub_is_asked_once_and_for_its_tables_alone(tables: Path, monkeypatch: Any) -> None:
    asked: list[tuple[str, Any, bool]] = []

    def snapshot_download(name: str, *, revision: Any, local_files_only: bool, **wanted: Any) -> str:
        asked.append((name, revision, local_files_only))
        assert wanted["repo_type"] == "dataset"
        assert all(each.endswith(".parquet") for each in wanted["allow_patterns"])
        if revision is None or local_files_only:
            raise OSError("not here")
        return str(tables)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert len(opened("org/name").train) == 20
    none, converted = ("org/name", None), ("org/name", reader.CONVERTED)
    assert asked == [(*none, True), (*converted, True), (*none, False), (*converted, False)]
    assert reader._place("org/name", "v1.0", True) == "hf://datasets/org/name@v1.0"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=r"the hub gives no tables of that name \(.*division"):
        opened("org/name")


def test_a_look_finds_columns_classes_and_maps(tables: Path) -> None:
    ways = advise(look(tables)).ways
    assert list(dict.fromkeys(way.model for way in ways)) == ["upernet_vitt", "classifier_vitt", "mae_vitt"]
    wanted = {"path": tables, "mask": "annotation", "num_classes": 3}
    assert wanted in [{key: way.keys.get(key) for key in wanted} for way in ways]
    assert [way.keys["num_classes"] for way in ways if way.model == "classifier_vitt"] == [3]


def test_a_second_photo_of_a_row_is_no_class_map(tmp_path: Path) -> None:
    photos = pa.array([encoded(smooth_picture(8, 12, n), "PNG") for n in range(9, 18)], PICTURE)
    maps = pa.array([encoded(Image.fromarray(class_map(n)), "PNG") for n in range(9)], PICTURE)
    told: list[Any] = []
    for name, columns in {"both": {"mask": maps}, "photos": {}}.items():
        (tmp_path / name).mkdir()
        pa.parquet.write_table(table(range(9), annotation=photos, **columns), tmp_path / name / "train.parquet")
        found = look(tmp_path / name)
        told.append((found.map_ending, found.map_labels, found.names, found.num_classes, found.notes))
        assert found.photos[0].counts == {Split("train", "train"): 9}
        assert found.photos[0].pixels.read == 8
    counts = tuple(dict(Counter(class_map(n).flatten().tolist())) for n in range(9))
    assert told == [
        ("mask", Labels(9, 9, {"train": counts}), (), 3, ("columns: image, label, annotation, mask",)),
        ("", None, tuple(NAMES), 3, ("columns: image, label, annotation",)),
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "classes": ({"num_classes": 4}, r"of 3 classes; set data\.num_classes=3"),
    "image": ({"image": "img"}, r"data\.image=img is no column of .*; there are image, label, annotation"),
    "mask": ({"mask": "map", "num_classes": 3}, r"data\.mask=map is no column"),
    "split": ({"splits": {"train": "big", "validation": "train", "test": "validation"}}, r"is for training"),
    "subset": ({"subset": "en"}, r"no table \(\.parquet \.arrow\) at data\.path=.* in a folder en"),
    "window": ({"window": 0}, r"data\.window must be at least 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_one_sentence(tables: Path, kind: str) -> None:
    changes, said = REFUSED[kind]
    with pytest.raises((UserError, ValueError), match=said):
        opened(tables, **changes)


def test_tables_of_other_things_are_one_sentence(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(UserError, match=r"data\.path is not set"):
        opened(None)
    with pytest.raises(UserError, match="it is no name of a data set of the hub"):
        opened(tmp_path / "nowhere")
    pa.parquet.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"no column holds pictures: data\.image says which; there are text, label"):
        opened(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"cannot read the table .*train\.parquet"):
        opened(tmp_path)
    lost = pa.array([{"bytes": None, "path": "a.jpg"}], PICTURE)
    pa.parquet.write_table(pa.table({"image": lost}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet:0 holds no picture, only the path a\.jpg"):
        opened(tmp_path, validation_fraction=0.5).train[0]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow: pip install 'mae-hydra\[huggingface\]'"):
        opened(tmp_path)


LABELS: dict[str, tuple[Any, Any]] = {  # what stands in the column -> the classes of the rows, or what is said
    "whole": ([0.0, 2.0, 1.0, 2.0], [0, 2, 1, 2]),
    "truth": ([True, False, True, True], [1, 0, 1, 1]),
    "texts": (["b", "a", "c", "b"], [1, 0, 2, 1]),
    "fractions": ([0.0, 1.5, 1.0, 2.0], "the column label holds 1.5; classes are whole numbers from 0, or texts"),
    "not a number": ([0.0, float("nan"), 1.0, 2.0], "rows have nothing in the column label"),
    "none": ([0, None, 1, 2], "2 of 8 rows have nothing in the column label"),
    "no text": (["a", None, "b", "c"], "2 of 8 rows have nothing in the column label"),
    "lists": ([[0], [1], [2], [0]], "holds list<.*>; classes are whole numbers or texts, data.label says where"),
}


@pytest.mark.parametrize("ending", ["PARQUET", "Arrow"])
def test_the_ending_of_a_table_may_be_in_any_letters(tmp_path: Path, ending: str) -> None:
    made = table(range(5))
    for name in ("train", "validation"):
        if ending == "PARQUET":
            pa.parquet.write_table(made, tmp_path / f"{name}.{ending}")
        else:
            with pa.ipc.new_file(str(tmp_path / f"{name}.{ending}"), made.schema) as writer:  # and not as a stream
                writer.write_table(made)
    assert [len(opened(place, num_classes=3).train) for place in (tmp_path, tmp_path / f"train.{ending}")] == [5, 4]


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_classes_are_whole_numbers_or_texts_in_every_row(tmp_path: Path, kind: str, ending: str) -> None:
    cells, wanted = LABELS[kind]
    made = pa.table({"image": [encoded(smooth_picture(8, 12, n)) for n in range(4)], "label": cells})
    if ending == "parquet":
        pa.parquet.write_table(made, tmp_path / "train.parquet")
    else:
        with pa.ipc.new_stream(str(tmp_path / "train.arrow"), made.schema) as writer:
            writer.write_table(made)
    (tmp_path / f"validation.{ending}").write_bytes((tmp_path / f"train.{ending}").read_bytes())
    num_classes = 2 if kind == "truth" else 3
    if isinstance(wanted, str):
        with pytest.raises(UserError, match=wanted):
            opened(tmp_path, num_classes=num_classes)
    else:
        data = opened(tmp_path, num_classes=num_classes)
        assert [data.train[n].label for n in range(4)] == wanted


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"label": ["cat", "dog", "eel"]}, "column label holds whole numbers in .* and texts in .*validation"),
    "missing": ({"label": None}, r"validation\.parquet has no column label, which train\.parquet has; there are image"),
    "picture": ({"image": None}, "validation.parquet has no column image"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_tables_that_are_not_alike_are_refused_before_a_row_is_read(tmp_path: Path, kind: str) -> None:
    columns, said = OTHERS[kind]
    pa.parquet.write_table(table(range(3)), tmp_path / "train.parquet")
    other = table(range(3)).drop_columns(list(columns))
    for name, cells in columns.items():
        other = other if cells is None else other.append_column(name, pa.array(cells))
    pa.parquet.write_table(other, tmp_path / "validation.parquet")
    with pytest.raises(UserError, match=said):
        opened(tmp_path, num_classes=3)
    (tmp_path / "validation.parquet").rename(tmp_path / "test.parquet")  # nobody asks for it
    assert len(opened(tmp_path, num_classes=3).train) == 2


def test_tables_that_number_their_classes_differently_are_refused(tmp_path: Path) -> None:
    pa.parquet.write_table(table(range(3)), tmp_path / "train.parquet")
    told = {"label": {"_type": "ClassLabel", "names": ["cat", "eel", "dog"]}, "image": {"_type": "Image"}}
    features = {"huggingface": json.dumps({"info": {"features": told}})}
    pa.parquet.write_table(table(range(3)).replace_schema_metadata(features), tmp_path / "validation.parquet")
    with pytest.raises(UserError, match=r"1 is dog in train\.parquet and eel in validation\.parquet"):
        opened(tmp_path, num_classes=3)


def test_tables_that_others_tell_of_and_that_are_missing_are_said(tables: Path, tmp_path: Path) -> None:
    """As a copy or a download leaves them that was stopped."""
    (tmp_path / "data").mkdir()
    for file in tables.glob("data/*"):
        (tmp_path / "data" / file.name).symlink_to(file)
    assert opened(tmp_path).notes == ()
    (tmp_path / "data/train-00001-of-00002.parquet").unlink()
    (note,) = opened(tmp_path).notes
    assert "1 table is missing, data/train-00001-of-00002.parquet for one" in note
    assert opened(tmp_path / "data/train-00000-of-00002.parquet").notes == ()


def test_of_a_download_that_was_stopped_the_rest_is_fetched(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train-00000-of-00002.parquet").symlink_to(tables / "data/train-00000-of-00002.parquet")
    monkeypatch.setattr(
        hub, "snapshot_download", lambda *_, local_files_only, **__: tmp_path if local_files_only else tables
    )
    assert len(opened("org/name").train) == 20


def test_a_row_of_no_known_format_is_not_left_out_of_shards(tables: Path, tmp_path: Path) -> None:
    strange: Any = opened(tables).train
    stored = strange.stored
    strange.stored = lambda index: stored(index)._replace(name="row 7") if index == 7 else stored(index)
    with pytest.raises(UserError, match="row 7 is of no format whose ending is known"):
        write_shards({"train": strange}, tmp_path / "s", classes=None, samples_per_shard=20, num_workers=0)


def test_the_class_of_a_row_is_told_without_its_image(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train: Any = opened(tables, num_classes=3).train
    monkeypatch.setattr(table_set.TableSet, "_cells", None)
    assert [train.class_id(index) for index in range(5)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("side", ["train", "validation", "test"])
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_number_or_text_that_is_no_class_is_said_before_a_row_is_read(tmp_path: Path, side: str, ending: str) -> None:
    def write(name: str, *cells: Any) -> None:
        made = pa.table({"image": [encoded(smooth_picture(8, 12, n)) for n in range(4)], "label": [*cells]})
        if ending == "parquet":
            pa.parquet.write_table(made, tmp_path / f"{name}.parquet", row_group_size=2)
            return
        with pa.ipc.new_stream(str(tmp_path / f"{name}.arrow"), made.schema) as writer:
            writer.write_table(made)

    for cells, wrong, said in (
        ([0, 1, 2, 1], 7, "7 .* set data.num_classes=8"),
        ([0, 1, 2, 1], 3, "3 .* set data.num_classes=4"),
        (["a", "b", "c", "a"], "e", "'e'"),
    ):
        for name in USUAL:
            write(name, *cells)
        write(side, *cells[:3], wrong)
        classes = ["a", "b", "c"] if wrong == "e" else None

        def built(classes: list[str] | None = classes) -> None:
            data = opened(tmp_path, num_classes=3, classes=classes)
            data.test()  # type: ignore[misc]

        with pytest.raises(UserError, match=rf"{side}\.{ending} has {said}"):
            built()
