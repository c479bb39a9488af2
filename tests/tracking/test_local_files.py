"""What a run leaves in its directory."""

import errno
import json
import os
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mae_hydra.tracking import LocalFiles, local
from mae_hydra.types import Evaluation, Picture


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "time", SimpleNamespace(time=lambda: 1000.04))


def lines(run_dir: Path) -> list[dict]:
    """Without the time at which each was written."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "perf/time"} for line in found]


def started(run_dir: Path, step: int = 0) -> LocalFiles:
    run_dir.mkdir(exist_ok=True)
    files = LocalFiles()
    files.start(run_dir, {}, step)
    return files


def test_every_line_is_on_the_disk_at_once(tmp_path):
    files = started(tmp_path)
    files.scalars(10, {"train/loss": 0.5})
    assert lines(tmp_path) == [{"step": 10, "train/loss": 0.5}]
    assert '"perf/time": 1000.0}' in (tmp_path / "metrics.jsonl").read_text()
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
        rows = [{"name": "wall", "IoU": float("nan")}, {"name": "sky", "IoU": shade}]
        files.evaluation(shade, "seg", Evaluation({}, {"a/b/c": picture}, {"classes": rows, "a/classes": rows[1:]}))
    with Image.open(tmp_path / "figures" / "a_b_c.png") as image:
        assert (image.size, image.mode) == ((6, 4), "RGB")
        assert np.asarray(image).min() == 200
    last = {"name": "sky", "IoU": 200}
    tables = {path.name: json.loads(path.read_text()) for path in (tmp_path / "tables").iterdir()}
    assert tables == {"classes.json": [{"name": "wall", "IoU": None}, last], "a_classes.json": [last]}
    assert not list(tmp_path.rglob("*.partial"))


def test_a_picture_below_overlays_is_no_file_and_one_for_the_page_of_a_sweep_is(tmp_path):
    """The sheet shows what the first one does; without the other no page could put runs side by side."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pictures = {
        "sheet": Picture(pixels),
        "sheet_0": Picture(pixels, maps={"labels": np.zeros((4, 6), np.uint8)}),
        "cells": Picture(pixels, for_report=True),
    }
    files = started(tmp_path)
    files.evaluation(1, "seg", Evaluation({}, pictures))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["cells.png", "sheet.png"]
    (tmp_path / "figures/sheet.png").write_bytes(b"looked at and edited")
    files.scalars(2, {})
    assert (tmp_path / "figures/sheet.png").read_bytes() == b"looked at and edited"  # it was written once


def test_files_are_replaced_as_a_whole_so_that_nobody_reads_half_of_one(tmp_path):
    """Another name of the file before keeps what that was."""
    files = started(tmp_path)
    for shade in (10, 200):
        told = Evaluation({}, {"a": Picture(np.full((2, 2, 3), shade, np.uint8))}, {"t": [{"n": shade}]})
        files.evaluation(shade, "seg", told)
        for name in ("figures/a.png", "tables/t.json") if shade == 10 else ():
            os.link(tmp_path / name, tmp_path / Path(name).name)
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "figures/a.png") as after:
        assert (np.asarray(before).max(), np.asarray(after).max()) == (10, 200)
    assert [json.loads((tmp_path / name).read_text()) for name in ("t.json", "tables/t.json")] == [
        [{"n": 10}], [{"n": 200}]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "written"), [(np.float32(0.5), 0.5), (np.int64(3), 3), (1, 1), (np.float32("nan"), None)]
)
def test_numbers_of_numpy_are_written_as_numbers(tmp_path, value, written):
    started(tmp_path).scalars(1, {"x": value})
    assert lines(tmp_path)[0]["x"] == written


class Disk:
    """Fails while it is `full`, for every file of a run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        originals = local.GrowingFile.write, local._write_whole

        def write(file: local.GrowingFile) -> None:
            if self.full:
                file.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            else:
                originals[0](file)

        def write_whole(path: Path, content: bytes) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            originals[1](path, content)

        monkeypatch.setattr(local.GrowingFile, "write", write)
        monkeypatch.setattr(local, "_write_whole", write_whole)


def run_through(files: LocalFiles, disk: Disk | None, full: range) -> None:
    for step in range(1, 13):
        if disk is not None:
            disk.full = step in full
        files.scalars(step, {"train/loss": 1 / step})
        if step % 4 == 0:
            picture = Picture(np.full((4, 6, 3), step, np.uint8))
            files.evaluation(step, "seg", Evaluation({"mIoU": step}, {"sheet": picture}, {"classes": [{"IoU": step}]}))
    if disk is not None:
        disk.full = 13 in full
    files.finish("completed", {"val/mIoU": 12.0})


def contents(run_dir: Path) -> dict[str, bytes]:
    return {p.relative_to(run_dir).as_posix(): p.read_bytes() for p in run_dir.rglob("*") if p.is_file()}


@pytest.mark.parametrize("full", [range(3, 6), range(4, 5), range(1, 12), range(8, 13)], ids=str)
def test_a_disk_that_was_full_for_a_while_costs_nothing(tmp_path, monkeypatch, capsys, full):
    run_through(started(tmp_path / "whole_run"), None, full)
    broken = started(tmp_path / "broken_run")
    run_through(broken, Disk(monkeypatch), full)
    assert contents(tmp_path / "broken_run") == contents(tmp_path / "whole_run")
    assert broken.missing == ""
    said = capsys.readouterr()
    assert said.err.count("metrics.jsonl cannot be written (No space left on device); it is kept") == 1
    assert said.out.count("metrics.jsonl could be written now, and nothing of it is missing") == 1


def test_what_the_disk_never_took_is_said_and_kept_elsewhere(tmp_path, monkeypatch, capsys):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    run_through(started(tmp_path / "whole_run"), None, range(0))
    files = started(tmp_path / "broken_run")
    run_through(files, Disk(monkeypatch), range(6, 14))
    names = "metrics.jsonl, figures/sheet.png, tables/classes.json, results.json"
    assert f"{tmp_path / 'broken_run'} lacks {names} (No space left on device); it is kept in" in files.missing
    assert files.missing in capsys.readouterr().err
    [kept] = (tmp_path / "elsewhere").iterdir()
    assert contents(tmp_path / "broken_run") | contents(kept) == contents(tmp_path / "whole_run")


def test_a_disk_that_has_no_room_for_a_second_record_has_the_lines_written_over_the_old_ones(tmp_path, monkeypatch):
    rows = [{"step": step, "train/loss": step / 100} for step in (10, 20, 30)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    disk = Disk(monkeypatch)
    whole, disk.full = local.GrowingFile.write, True
    monkeypatch.setattr(local.GrowingFile, "write", lambda file: (setattr(disk, "full", False), whole(file)))
    files = started(tmp_path, step=20)
    assert lines(tmp_path) == rows[:2]
    files.scalars(20, {"val/mIoU": 5.0})
    files.scalars(30, {"train/loss": float("inf")})
    assert lines(tmp_path) == [rows[0], rows[1] | {"val/mIoU": 5.0}, {"step": 30, "train/loss": None}]


def test_a_picture_alone_that_the_disk_never_took_is_kept_elsewhere_or_said_to_be_lost(tmp_path, monkeypatch, capsys):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    evaluation = Evaluation({"mIoU": 1.0}, {"a.b": Picture(np.zeros((2, 2, 3), np.uint8))})
    for there in (True, False):
        if there:
            elsewhere.mkdir()
        files = started(tmp_path / str(there))
        with monkeypatch.context() as full:
            full.setattr(local, "_write_whole", lambda path, content: os.open(tmp_path / "nowhere/x", os.O_WRONLY))
            files.evaluation(5, "seg", evaluation)
            files.finish("failed", {})
        told = f"{tmp_path / str(there)} lacks figures/a.b.png (No such file or directory); "
        assert lines(tmp_path / str(there)) == [{"step": 5, "val/mIoU": 1.0}]
        if there:
            [kept] = elsewhere.iterdir()
            assert files.missing == f"{told}it is kept in {kept}: copy the files from there once there is room"
            assert sorted(contents(kept)) == ["figures/a.b.png"]
            elsewhere.rename(tmp_path / "gone")
        else:
            lost = "it could be written nowhere else either (No such file or directory) and is lost"
            assert files.missing == told + lost


def test_a_record_alone_that_the_disk_never_took_is_kept_elsewhere_for_its_last_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files, reasons = started(tmp_path / "run"), iter([errno.ENOSPC, errno.EROFS, errno.EROFS])

    def write(file):
        number = next(reasons)
        file.error = OSError(number, os.strerror(number))

    with monkeypatch.context() as full:
        full.setattr(local.GrowingFile, "write", write)
        files.scalars(5, {"a": 1.0})
        files.scalars(6, {"a": 2.0})
        files.finish("failed", {})
    [kept] = tmp_path.glob("mae_hydra-run-*")
    assert files.missing == (
        f"{tmp_path / 'run'} lacks metrics.jsonl (Read-only file system); "
        f"it is kept in {kept}: copy the files from there once there is room"
    )
    assert list(contents(kept)) == ["metrics.jsonl"]
    assert [(line["step"], line["a"]) for line in lines(kept)] == [(5, 1.0), (6, 2.0)]
    assert capsys.readouterr().err.count("No space left on device); it is kept, and written as soon as") == 1


def test_a_picture_that_cannot_be_drawn_costs_no_score(tmp_path, capsys):
    files = started(tmp_path)
    files.evaluation(5, "seg", Evaluation({"mIoU": 1.0}, {"odd": Picture(np.zeros((2, 2, 7), np.float64))}))
    assert lines(tmp_path) == [{"step": 5, "val/mIoU": 1.0}]
    [said] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r".*/figures/odd\.png cannot be written \(.+\)", said)  # a file that is kept would say so
    files.evaluation(6, "seg", Evaluation({"mIoU": 2.0}, {"odd": Picture(np.zeros((2, 2, 3), np.uint8))}))
    files.finish("completed", {})
    assert (tmp_path / "figures/odd.png").is_file()
    assert "figures/odd.png could be written now" in capsys.readouterr().out


def test_a_resumed_run_keeps_the_lines_behind_a_damaged_one_and_says_so(tmp_path, capsys, caplog):
    rows = [{"step": step, "train/loss": step / 100} for step in (10, 20, 30, 40)]
    written = [json.dumps(row).encode() + b"\n" for row in rows]
    damage = [b'{"step": 15, "tra\n', b"\0" * 100 + b"\n", b"\xff\xfe\n"]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join([written[0], *damage, *written[1:]]))
    started(tmp_path, step=30).scalars(40, {"train/loss": 9.0})
    assert lines(tmp_path) == [*rows[:3], {"step": 40, "train/loss": 9.0}]
    assert f"note: 3 damaged lines of {tmp_path / 'metrics.jsonl'} cannot be read" in capsys.readouterr().out
    assert [record.message[:22] for record in caplog.records] == ["note: 3 damaged lines "]  # in train.log, too


@pytest.mark.parametrize("state", ["completed", "failed", "interrupted"])
def test_a_run_that_is_not_complete_has_no_results(tmp_path, state):
    files = started(tmp_path)
    files.scalars(5, {"train/loss": 1.0})
    files.finish(state, {"train/loss": 1.0, "val/loss": float("nan")})
    results = tmp_path / "results.json"
    told = json.loads(results.read_text()) if results.exists() else None
    assert told == ({"train/loss": 1.0, "val/loss": None} if state == "completed" else None)
