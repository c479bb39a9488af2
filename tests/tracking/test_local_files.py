"""What a run leaves in its directory."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mae_hydra.tracking import LocalFiles
from mae_hydra.types import Evaluation, Picture


def lines(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def started(run_dir: Path, step: int = 0) -> LocalFiles:
    files = LocalFiles()
    files.start(run_dir, {}, step)
    return files


def test_every_line_is_on_the_disk_at_once(tmp_path):
    files = started(tmp_path)
    files.scalars(10, {"train/loss": 0.5})
    assert lines(tmp_path) == [{"step": 10, "train/loss": 0.5}]
    files.scalars(20, {"train/loss": 0.25})
    assert lines(tmp_path) == [{"step": 10, "train/loss": 0.5}, {"step": 20, "train/loss": 0.25}]


def test_what_belongs_to_one_step_is_one_line(tmp_path):
    files = started(tmp_path)
    files.scalars(10, {"train/loss": 0.123456789})
    files.evaluation(10, "segmentation", Evaluation({"mIoU": 31.5}))
    files.scalars(10, {"train/loss": 0.5})  # shorter than what it replaces
    files.scalars(11, {"train/loss": 0.4})
    assert lines(tmp_path) == [{"step": 10, "train/loss": 0.5, "val/mIoU": 31.5}, {"step": 11, "train/loss": 0.4}]


def test_what_is_no_finite_number_is_null_and_the_line_is_still_json(tmp_path):
    files = started(tmp_path)
    files.scalars(1, {"nan": float("nan"), "inf": float("inf"), "one": 1.0})
    assert lines(tmp_path) == [{"step": 1, "nan": None, "inf": None, "one": 1.0}]


def test_a_resumed_run_drops_the_lines_it_is_going_to_write_again(tmp_path):
    first = started(tmp_path)
    for step in (10, 20, 30, 40):
        first.scalars(step, {"train/loss": step / 100})
    first.finish("interrupted", {})
    second = started(tmp_path, step=25)
    second.scalars(30, {"train/loss": 9.0})
    assert [(line["step"], line["train/loss"]) for line in lines(tmp_path)] == [(10, 0.1), (20, 0.2), (30, 9.0)]


def test_a_resumed_run_adds_to_the_line_of_its_checkpoint(tmp_path):
    first = started(tmp_path)
    first.scalars(10, {"train/loss": 0.5})
    first.finish("interrupted", {})
    started(tmp_path, step=10).evaluation(10, "segmentation", Evaluation({"mIoU": 31.5}))
    assert lines(tmp_path) == [{"step": 10, "train/loss": 0.5, "val/mIoU": 31.5}]


@pytest.mark.parametrize("torn", ['{"step": 20, "tra', '{"step": 20, "train/loss": 0.4}4}\n', 'ss": 0.25}\n'])
def test_a_line_torn_by_a_kill_is_dropped(tmp_path, torn):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "train/loss": 0.5}\n' + torn)
    started(tmp_path, step=20).scalars(20, {"train/loss": 0.4})
    assert lines(tmp_path) == [{"step": 10, "train/loss": 0.5}, {"step": 20, "train/loss": 0.4}]


def test_a_new_run_starts_with_an_empty_file(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "train/loss": 0.5}\n')
    started(tmp_path)
    assert lines(tmp_path) == []


def test_pictures_and_tables_are_the_latest_of_their_name(tmp_path):
    files = started(tmp_path)
    for shade in (10, 200):
        picture = Picture(np.full((4, 6, 3), shade, np.uint8))
        files.evaluation(
            shade, "seg", Evaluation({}, {"a/b": picture}, {"classes": [{"name": "wall", "IoU": float("nan")}]})
        )
    with Image.open(tmp_path / "figures" / "a_b.png") as image:
        assert (image.size, image.mode) == ((6, 4), "RGB")
        assert np.asarray(image).min() == 200
    assert json.loads((tmp_path / "tables" / "classes.json").read_text()) == [{"name": "wall", "IoU": None}]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("value", "written"), [(np.float32(0.5), 0.5), (np.int64(3), 3), (1, 1), (np.float32("nan"), None)]
)
def test_numbers_of_numpy_are_written_as_numbers(tmp_path, value, written):
    started(tmp_path).scalars(1, {"x": value})
    assert lines(tmp_path)[0]["x"] == written
