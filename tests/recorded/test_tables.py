"""Kinds of values in the small files of a run, and where its data lie."""

import json
import os
from pathlib import Path

import pytest
import yaml

from mae_hydra.errors import UserError
from mae_hydra.recorded.places import with_places
from mae_hydra.recorded.tables import is_numbers, read_table


def test_truth_is_no_number_and_null_is_no_table_but_of_a_run_without_a_parent(tmp_path: Path):
    assert is_numbers(None)
    assert is_numbers([1, 0.5])
    assert not is_numbers([1, True])
    (tmp_path / "parent.json").write_text("null")
    assert read_table(tmp_path / "parent.json") is None
    for name, content in (("git.json", None), ("status.json", {"attempt": "1"})):
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(UserError, match="is not what a run writes"):
            read_table(tmp_path / name)


def test_a_runs_file_tells_where_its_data_lie_and_nothing_else_of_them(tmp_path: Path):
    told = {"root": "/new", "cache": "/quick", "image_size": 64, "ignore_index": 0, "batch_size": 2, "num_workers": 9}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": told}))
    data = {"image_size": 224, "ignore_index": 255, "batch_size": 8, "num_workers": 1}
    record = {"data": {"root": "/old", "cache": "/slow"} | data, "seed": 1}
    found, notes = with_places(record, tmp_path / "checkpoints/last.pt")
    assert found == {"data": {"root": "/new", "cache": "/quick"} | data, "seed": 1}
    assert [note.partition(" has ")[2].partition(",")[0] for note in notes] == [
        "data.image_size 64",
        "data.ignore_index 0",
    ]
    assert with_places(record, tmp_path / "elsewhere/last.pt") == (record, [])
    assert with_places({"seed": 1, "data": 5}, tmp_path / "checkpoints/last.pt") == ({"seed": 1, "data": 5}, [])
    for said in ("seed: 2", "data: {}", "data: {more: 3, batch_size: 8}"):
        (tmp_path / "config.yaml").write_text(said)
        assert with_places(record, tmp_path / "checkpoints/last.pt") == (record, [])
    (tmp_path / "config.yaml").write_text("data: {cache: /quick}")  # which these data have not
    assert with_places({"data": data}, tmp_path / "checkpoints/last.pt") == ({"data": data}, [])


@pytest.mark.parametrize("name", ["status.json", "config.yaml", "search.json"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} cannot be read \(it is no regular file\)"):
        read_table(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="it is no regular file"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status.json", '{"state": "completed", "value": 1%s}' % ("0" * 400)),
        ("status.json", '{"state": "completed", "start": 1e300}'),
        ("status.json", '{"state": "completed", "end": NaN}'),
        ("status.json", '{"state": "completed", "value": 1e999}'),
        ("parent.json", '{"path": "a\\u0000b"}'),
    ],
)
def test_numbers_and_texts_beyond_what_a_run_writes_are_refused(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="is not what a run writes"):
        read_table(tmp_path / name)
