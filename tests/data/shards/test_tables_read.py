"""What the reader of tables makes of its settings: both splits, the third one, and where a set of the hub lies."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_huggingface import PICTURE, encoded, opened
from test_table_rows import picture

from mae_hydra.data.shards import huggingface as reader
from mae_hydra.errors import UserError

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")


def deep(value: int) -> bytes:
    Image.fromarray(np.array([[0, value]], np.uint16)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def write(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.table(columns), path, row_group_size=2)


GREY: dict[str, Any] = {"channels": 1, "mean": [0.5], "std": [0.2]}


def test_a_range_is_that_of_training_for_every_split_and_is_said(tmp_path: Path) -> None:
    for split, value in (("train", 1000), ("validation", 500), ("test", 250)):
        write(tmp_path / f"{split}.parquet", image=[deep(value)] * 2, label=[0, 1])
    data = opened(tmp_path, num_classes=2, **GREY)
    assert data.test is not None
    sets: list[Any] = [data.train, data.validation, data.test()]
    assert len({each.pixel_range for each in sets} | {data.pixel_range}) == 1
    assert [int(each[0].image.max()) for each in sets] == [255, 128, 64]
    assert any("1000" in note for note in data.notes)
    wide = opened(tmp_path, num_classes=2, **GREY | {"bits": 16})
    assert wide.train[0].image.int().max() == 65535


def test_a_share_of_rows_is_held_out_by_their_names_in_the_order_of_the_table(tmp_path: Path) -> None:
    write(tmp_path / "all.parquet", image=[picture(n) for n in range(20)])
    data = opened(tmp_path, window=5, validation_fraction=0.3, **GREY)
    train: Any = data.train
    rows = [[int(each[n].image[0, 0, 0]) for n in range(len(each))] for each in (data.train, data.validation)]
    assert [len(each) for each in rows] == [14, 6]
    assert rows == [sorted(each) for each in rows]
    assert sorted(rows[0] + rows[1]) == list(range(20))
    assert train._window == 5
    for fraction in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"data\.validation_fraction must lie in \(0, 1\)"):
            opened(tmp_path, validation_fraction=fraction, **GREY)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_all_splits_must_be_alike_and_of_the_classes(tmp_path: Path, split: str) -> None:
    def all_of(**wrong: Any) -> None:
        for each in ("train", "validation", "test"):
            good: dict[str, Any] = {"image": [picture(1)] * 3, "label": [0, 1, 1], "mask": [picture(0)] * 3}
            write(tmp_path / f"{each}.parquet", **good | (wrong if each == split else {}))

    def read(**told: Any) -> None:
        data = opened(tmp_path, num_classes=2, image="image", **GREY | told)
        assert data.test is not None
        data.test()

    all_of()
    read()
    read(mask="mask")
    all_of(label=[0, 1, 2])
    with pytest.raises(UserError, match=rf"{split}\.parquet has 2 in the column label"):
        read()
    all_of(label=["0", "1", "1"])
    with pytest.raises(UserError, match="the column label holds"):
        read()
    all_of(image=["a", "b", "c"])
    with pytest.raises(UserError, match=r"the column image holds|holds no picture"):
        read()
    all_of(label=[0, None, 1], mask=pa.array([picture(0), None, picture(0)]))
    if split != "test":  # whose rows are refused when they are read
        for told in ({}, {"mask": "mask"}):
            with pytest.raises(UserError, match="1 of 6 rows have nothing in the column"):
                read(**told)


def test_names_that_are_told_go_before_those_that_are_found(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", image=[picture(1)] * 3, label=["b", "a", "b"])
    write(tmp_path / "validation.parquet", image=[picture(1)], label=["a"])
    data = opened(tmp_path, num_classes=2, classes=["b", "a"], **GREY)
    assert (data.class_names, [data.train[n].label for n in range(3)]) == (("b", "a"), [0, 1, 0])
    assert opened(tmp_path, num_classes=2, **GREY).class_names == ("a", "b")
    with pytest.raises(UserError, match=r"no table of data\.path=.* is for testing; tell which: data\.splits"):
        opened(tmp_path, **GREY).test()  # type: ignore[misc]


def test_tables_lie_where_the_path_says_or_where_the_hub_keeps_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "set").mkdir()
    assert reader._place("~/set", None, False) == str(tmp_path / "set")
    assert reader._place("s3://a/b", None, False) == "s3://a/b"
    assert reader._place("org/name", None, True) == "hf://datasets/org/name@refs%2Fconvert%2Fparquet"
    assert reader._place("org/name", "a/b", True) == "hf://datasets/org/name@a%2Fb"
    for wrong in ("org/name/more", "name", "org/na me"):
        with pytest.raises(UserError, match="it is no name of a data set of the hub"):
            reader._place(wrong, None, True)


def test_the_hub_is_asked_for_one_branch_where_it_is_told_and_what_is_partly_there_is_a_last_resort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    for folder, name in (("whole", "train-00000-of-00001"), ("part", "train-00000-of-00002"), ("none", "")):
        (tmp_path / folder).mkdir()
        if name:
            (tmp_path / folder / f"{name}.parquet").touch()
    asked: list[tuple[Any, bool]] = []

    def answers(offline: str | None, online: str | None) -> None:
        def snapshot_download(*_: Any, revision: Any, local_files_only: bool, **__: Any) -> str:
            asked.append((revision, local_files_only))
            found = offline if local_files_only else online
            if found is None:
                raise OSError("no connection")
            return str(tmp_path / found)

        asked.clear()
        monkeypatch.setattr(hub, "snapshot_download", snapshot_download)

    answers("whole", None)
    assert (reader._place("o/n", "v1", False), asked) == (str(tmp_path / "whole"), [("v1", True)])
    answers("part", "whole")
    assert (reader._place("o/n", "v1", False), asked) == (str(tmp_path / "whole"), [("v1", True), ("v1", False)])
    answers("none", "part")  # as the hub itself has it
    assert (reader._place("o/n", "v1", False), asked[-1]) == (str(tmp_path / "part"), ("v1", False))
    answers("none", "part")
    assert (reader._place("o/n", None, False), asked[2:]) == (str(tmp_path / "part"), [(None, False)])
    answers("part", None)
    assert (reader._place("o/n", None, False), len(asked)) == (str(tmp_path / "part"), 4)
    answers("none", None)
    with pytest.raises(UserError, match=r"the hub gives no tables of that name \(no connection\)"):
        reader._place("o/n", None, False)


def test_missing_tables_are_counted(tmp_path: Path) -> None:
    cells = pa.array([encoded(Image.new("RGB", (4, 4)))] * 2, PICTURE)
    for name in ("train-00003-of-00004", "validation-00000-of-00001"):
        write(tmp_path / f"{name}.parquet", image=cells)
    (note,) = opened(tmp_path).notes
    assert "3 tables are missing, train-00000-of-00004.parquet for one" in note
